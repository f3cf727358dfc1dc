import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { headgateLauncher } from './site.ts';

/** A line of HAProxy's statistics: what it has made of a server. */
type Server = {
  readonly status: string;
  readonly weight: number;
  readonly check: string;
  readonly said: string;
};

/** A comma, unless it stands in quotes. */
const betweenFields = /,(?=(?:[^"]*"[^"]*")*[^"]*$)/;

requires('haproxy')('HAProxy takes what the load agent says', () => {
  let folder: string;
  let agent: ChildProcess;
  let haproxy: ChildProcess;
  let port: number;
  const words = () => join(folder, 'words');

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-haproxy-'));
    writeFileSync(words(), '');
    agent = spawn(
      process.execPath,
      [headgateLauncher, 'agent', 'serve', '--listen', '127.0.0.1:0', '--words', words()],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const [text] = (await new Promise((done) =>
      agent.stderr!.once('data', (data) => done([String(data)])),
    )) as string[];
    port = Number(/ on 127\.0\.0\.1:(\d+)/.exec(text!)![1]);
    writeFileSync(
      join(folder, 'haproxy.cfg'),
      `global
  stats socket ${join(folder, 'stats')}
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
listen web
  bind unix@${join(folder, 'front')}
  balance roundrobin
  server web1 127.0.0.1:${port} weight 100 check inter 200ms agent-check agent-port ${port} agent-inter 200ms agent-send "web\\n"
`,
    );
    haproxy = spawn('haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')], { stdio: 'ignore' });
    await until((found) => found !== undefined);
  });
  afterAll(() => {
    agent?.kill('SIGKILL');
    haproxy?.kill('SIGKILL');
    if (folder) rmSync(folder, { recursive: true });
  });

  /** What `show stat` says of the server; undefined while HAProxy is not there. */
  function look(): Promise<Server | undefined> {
    return new Promise((resolve) => {
      let text = '';
      const socket = connect(join(folder, 'stats'), () => socket.write('show stat\n'));
      socket.on('error', () => resolve(undefined));
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('end', () => {
        const [head = '', ...rows] = text.replace(/^# /, '').split('\n');
        const names = head.split(',');
        const row = rows.find((line) => line.startsWith('web,web1,'))?.split(betweenFields);
        const of = (name: string) => row?.[names.indexOf(name)] ?? '';
        resolve(
          row && {
            ...{ status: of('status'), weight: Number(of('weight')), check: of('agent_status') },
            said: of('last_agt'),
          },
        );
      });
    });
  }

  async function until(isRight: (found: Server | undefined) => boolean): Promise<Server> {
    const end = performance.now() + 20_000;
    for (;;) {
      const found = await look();
      if (isRight(found)) return found!;
      if (performance.now() > end) throw new Error(`HAProxy still has ${JSON.stringify(found)}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  const says = (text: string) => writeFileSync(words(), text);

  it('a percentage, with the figures as its description', async () => {
    const { check, weight } = await until((found) => found?.check === 'L7OK' && found.status === 'UP');
    expect(check).toBe('L7OK');
    expect(weight).toBeGreaterThanOrEqual(1);
    expect(weight).toBeLessThanOrEqual(100);
    says('40%');
    await until((found) => found?.weight === 40 && found.status === 'UP');
  });

  it('drain, maint and ready', async () => {
    says('drain #new disk');
    await until((found) => found?.status.startsWith('DRAIN') === true);
    says('maint');
    await until((found) => found?.status === 'MAINT');
    // A file that is empty means ready.
    says('');
    await until((found) => found?.status === 'UP');
  });

  it('down, stopped and fail, and up', async () => {
    for (const word of ['down', 'stopped', 'fail']) {
      says(`${word} #for a test`);
      const { said } = await until((found) => found?.status.startsWith('DOWN') === true);
      expect(said).toContain('for a test');
      says('');
      await until((found) => found?.status === 'UP');
    }
  });
});

describe('the load agent', () => {
  it('says what is wrong with its options', () => {
    const run = (...args: string[]) => {
      const { status, stderr } = spawnSync(process.execPath, [headgateLauncher, 'agent', 'serve', ...args], {
        encoding: 'utf8',
        timeout: 20_000,
      });
      return `${status} ${stderr}`;
    };
    expect(run('--allow', '10.0.0.0/33')).toMatch(
      /^2 .*Cannot allow "10\.0\.0\.0\/33": wanted an address or a prefix/,
    );
    expect(run('--listen', 'web1:80:80')).toMatch(
      /^2 .*Cannot use --listen "web1:80:80": wanted ADDRESS:PORT/,
    );
    expect(run('--connections', '5')).toMatch(/^2 .*wanted --port with --connections/);
    expect(run('--listen', '192.0.2.77:9177')).toMatch(
      /Cannot listen on "192\.0\.2\.77:9177": this host does not have/,
    );
  });
});
