import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { copyProduct, unprivileged } from './copy.ts';

const nobody = 65_534;

requires('root')('an ordinary user', () => {
  let copy: string;
  let file: string;
  let environment: NodeJS.ProcessEnv;
  beforeAll(() => {
    copy = copyProduct();
    const own = join(copy, 'own');
    mkdirSync(own, { mode: 0o700 });
    chownSync(own, nobody, nobody);
    file = join(copy, 'headgate.yaml');
    writeFileSync(
      file,
      `dataPlane: proxy
virtualServices:
  - name: web
    address: 127.0.0.1:18${String(process.pid).slice(-3).padStart(3, '0')}
    method: masquerade
    check: { type: tcp, initial: up }
    realServers: [{ name: web1, address: 127.0.0.1:9 }]
`,
    );
    environment = { ...process.env, HEADGATE_SOCKET: join(own, 'control.sock') };
  });
  afterAll(() => rmSync(copy, { recursive: true }));

  const words = (...args: string[]) => [
    ...unprivileged.slice(1),
    process.execPath,
    join(copy, 'bin/headgate.js'),
    ...args,
  ];
  const headgate = (env: NodeJS.ProcessEnv, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('setpriv', words(...args), { encoding: 'utf8', env });
    return { status, stdout, stderr };
  };

  test('is told what a daemon takes that it may not have', () => {
    const { HEADGATE_SOCKET: _, ...bare } = environment;
    expect(headgate(bare, 'run', file)).toEqual({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(
        /^headgate: Cannot listen at .*\[HG_NOT_ROOT\]\n {2}next: .*HEADGATE_SOCKET/,
      ),
    });
  });

  test('checks by hand what a file says', () => {
    expect(headgate(environment, 'check', 'web/web1', '--file', file)).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^web\/web1 {2}tcp connect: connection refused/),
      stderr: '',
    });
    expect(headgate(environment, 'check', 'web/web1').stderr).toMatch(
      /\[HG_CONFIG\]\n {2}next: name the file, or write it as docs\/configuration\.md says/,
    );
  });

  test('runs a daemon on sockets, and its commands', async () => {
    const daemon = spawn('setpriv', words('run', file), {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
    });
    let log = '';
    const running = new Promise<void>((resolve, reject) => {
      daemon.once('close', () => reject(new Error(`the daemon ended: ${log}`)));
      daemon.stderr!.on('data', (text) => {
        log += text;
        if (log.includes('info running')) resolve();
      });
    });
    await running;
    expect(headgate(environment, 'get', 'services').stdout).toMatch(/^web +tcp 127\.0\.0\.1:18\d{3} /m);
    expect(headgate(environment, 'events').stdout).toContain('daemon-started');
    expect(headgate(environment, 'doctor')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('headgate status'),
    });
    const closed = once(daemon, 'close');
    daemon.kill('SIGTERM');
    const [status] = await closed;
    expect({ status, log }).toEqual({ status: 0, log: expect.not.stringContaining('defect') });
  });
});
