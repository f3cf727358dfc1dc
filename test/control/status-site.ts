import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { type Lab, up } from '../../src/lab/build.ts';

export const vip = '10.84.0.100';
export const realServers = { web1: '10.85.0.1', web2: '10.85.0.2' } as const;

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');
const patienceMs = 30_000;

export type Ended = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** A client, a director and two real servers that hold connections open. */
export type StatusSite = {
  readonly lab: Lab;
  readonly file: string;
  /** Runs a line of shell on a node, where `headgate` is this checkout. */
  run(line: string, node?: string): Ended;
  /** The same; throws with what it said when it fails. */
  shell(line: string, node?: string): string;
  write(text: string): void;
  /** Starts the daemon with the file; resolves when it runs. */
  startDaemon(): Promise<Daemon>;
  close(): void;
};

export type Daemon = {
  readonly process: ChildProcess;
  logged(what: RegExp): Promise<void>;
  end(signal: NodeJS.Signals): Promise<void>;
};

const greet = (name: string) =>
  `require('net').createServer((s) => { s.on('error', () => {}); s.write('${name}\\n'); }).listen(80, '0.0.0.0', () => console.log('up'))`;

export async function openStatusSite(name: string): Promise<StatusSite> {
  const folder = mkdtempSync(join(tmpdir(), 'hgstatus-'));
  writeFileSync(join(folder, 'headgate'), `#!/bin/sh\nexec ${process.execPath} ${launcher} "$@"\n`);
  chmodSync(join(folder, 'headgate'), 0o755);
  chmodSync(folder, 0o755);
  const env = {
    ...process.env,
    PATH: `${folder}${delimiter}${process.env.PATH}`,
    HEADGATE_CONNECTIONS: '1024',
  };
  const port = (node: string, device: string, ...addresses: string[]) => ({ node, device, addresses });
  const [web1, web2] = Object.keys(realServers);
  const behind = { routes: [{ destination: 'default', gateway: '10.85.0.254', family: 'ipv4' }] } as const;
  const lab = up({
    name: `${name}${process.pid.toString(36)}`,
    nodes: [
      { name: 'client' },
      { name: 'director', sysctls: { 'net.ipv4.ip_forward': 1 } },
      { name: web1!, ...behind },
      { name: web2!, ...behind },
    ],
    segments: [
      {
        name: 'front',
        ports: [
          port('client', 'eth0', '10.84.0.1/24'),
          port('director', 'front', '10.84.0.254/24', `${vip}/32`),
        ],
      },
      {
        name: 'back',
        ports: [
          port('director', 'back', '10.85.0.254/24'),
          port(web1!, 'eth0', `${realServers.web1}/24`),
          port(web2!, 'eth0', `${realServers.web2}/24`),
        ],
      },
    ],
  });
  for (const node of Object.keys(realServers)) {
    const server = lab.spawn(node, process.execPath, ['-e', greet(node)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(server.stdout!, 'data');
  }
  const file = join(folder, 'lb.yaml');
  const run: StatusSite['run'] = (line, node = 'director') => {
    const { status, stdout, stderr } = lab.run(node, 'sh', ['-c', `cd ${folder} && ${line}`], {
      env,
      timeoutMs: patienceMs,
      input: '',
    });
    return { status: status ?? -1, stdout, stderr };
  };
  return {
    lab,
    file,
    run,
    shell(line, node) {
      const { status, stdout, stderr } = run(line, node);
      if (status !== 0) throw new Error(`${line}: status ${status}, ${stderr}${stdout}`);
      return stdout;
    },
    write: (text) => writeFileSync(file, text),
    async startDaemon() {
      const child = lab.spawn('director', process.execPath, [launcher, 'run', file], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env,
      });
      let log = '';
      child.stderr!.on('data', (text) => {
        log += text;
      });
      const ended = once(child, 'exit');
      const logged = async (what: RegExp) => {
        const deadline = performance.now() + patienceMs;
        while (!what.test(log)) {
          if (child.exitCode !== null || performance.now() > deadline)
            throw new Error(`the log has no ${what}: ${log}`);
          await new Promise((done) => setTimeout(done, 20));
        }
      };
      await logged(/ info running /);
      return {
        process: child,
        logged,
        async end(signal) {
          child.kill(signal);
          await ended;
        },
      };
    },
    close() {
      run('headgate clean-up');
      lab.down();
      rmSync(folder, { recursive: true });
    },
  };
}
