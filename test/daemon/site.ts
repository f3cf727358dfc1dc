import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  netnsCookie,
  netnsPath,
  spawnInNetns,
  withNetns,
} from '../../src/sys/netns.ts';

const bin = resolve(import.meta.dirname, '../../bin');
export const launchers = { headgate: join(bin, 'headgate.js'), ipvsadm: join(bin, 'ipvsadm.js') } as const;

/** A network namespace of its own with a configuration file; the daemon is started by the test. */
export type Site = {
  readonly file: string;
  /** Where the file is; goes with the site. */
  readonly folder: string;
  readonly netns: string;
  /** Where the daemon listens. */
  readonly socket: string;
  /** Where the process that keeps its virtual addresses listens. */
  readonly failoverSocket: string;
  write(text: string): void;
  /** Runs a command of ours in the namespace; what it printed, and its exit status. */
  run(
    program: keyof typeof launchers,
    ...words: string[]
  ): { status: number; stdout: string; stderr: string };
  /** The rules in force, as ipvsadm-save prints them. */
  rules(): string[];
  /** The interfaces of the namespace. */
  devices(): string[];
  /** Starts the daemon, with further words of `headgate run`, and waits until it runs. */
  start(environment?: NodeJS.ProcessEnv, ...words: string[]): Promise<Running>;
  close(): void;
};

export type Running = {
  readonly process: ChildProcess;
  log(): string;
  /** Waits until the log has it. */
  logged(what: RegExp): Promise<void>;
  /** Sends a signal and waits for the end; the exit status, or the signal. */
  end(signal: NodeJS.Signals): Promise<number | string>;
};

const patienceMs = 60_000;

/** `name` tells several sites of one test apart. */
export function openSite(name = ''): Site {
  const netns = `hgdaemon-${process.pid}${name}`;
  createNamedNetns(netns);
  const folder = mkdtempSync(join(tmpdir(), 'headgate-daemon-'));
  const file = join(folder, 'headgate.yaml');
  const started: ChildProcess[] = [];
  const cookie = withNetns(netnsPath(netns), netnsCookie);
  const ours = () => ({
    ...process.env,
    HEADGATE_CONNECTIONS: '4096',
    HEADGATE_STATE: process.env.HEADGATE_STATE ?? join(folder, 'state'),
  });
  const run: Site['run'] = (program, ...words) => {
    const { status, stdout, stderr } = spawnSync(
      'ip',
      ['netns', 'exec', netns, process.execPath, launchers[program], ...words],
      { encoding: 'utf8', env: ours() },
    );
    return { status: status ?? 1, stdout, stderr };
  };
  return {
    file,
    folder,
    netns,
    socket: `/run/headgate/${cookie}/control.sock`,
    failoverSocket: `/run/headgate/${cookie}/failover.sock`,
    write: (text) => writeFileSync(file, text),
    run,
    rules: () => run('ipvsadm', '-S', '-n').stdout.trimEnd().split('\n'),
    devices: () => withNetlink({ netns: netnsPath(netns) }, listLinks).map(({ name }) => name),
    async start(environment = {}, ...words) {
      const child = spawnInNetns(netns, process.execPath, [launchers.headgate, 'run', file, ...words], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...ours(), ...environment },
      });
      started.push(child);
      let log = '';
      child.stderr!.on('data', (text) => {
        log += text;
      });
      const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
      const running: Running = {
        process: child,
        log: () => log,
        async logged(what) {
          const deadline = performance.now() + patienceMs;
          while (!what.test(log)) {
            if (child.exitCode !== null) throw new Error(`the daemon ended with ${child.exitCode}: ${log}`);
            if (performance.now() > deadline) throw new Error(`the log has no ${what}: ${log}`);
            await new Promise((done) => setTimeout(done, 20));
          }
        },
        async end(signal) {
          child.kill(signal);
          const [code, by] = await ended;
          return code ?? by!;
        },
      };
      await running.logged(/\binfo running |"message":"running"/);
      return running;
    },
    close() {
      for (const child of started) child.kill('SIGKILL');
      run('headgate', 'clean-up');
      deleteNamedNetns(netns);
      rmSync(folder, { recursive: true });
    },
  };
}
