import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A real server that a test started. */
export type RealServer = {
  readonly pid: number;
  /** What it has said so far. */
  readonly said: () => string;
  /** Holds it as it is, all its processes and threads: it answers nothing, and its sockets stay. */
  readonly freeze: () => Promise<void>;
  readonly thaw: () => void;
  readonly stop: () => Promise<void>;
};

/** A folder of its own for a server; `remove` takes it away again. */
export function serverFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'hgserver-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A port that neither TCP nor UDP of the loopback addresses uses now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '::', resolve));
    const { port } = server.address() as { port: number };
    const socket = createSocket('udp6');
    const isFree = await new Promise<boolean>((resolve) => {
      socket.once('error', () => resolve(false));
      socket.bind(port, '::', () => resolve(true));
    });
    socket.close();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    if (isFree) return port;
  }
}

/** Starts a server in the foreground and waits until it is ready: until it says `ready`, or until `isReady` finds so. */
export async function startServer(
  program: string,
  args: readonly string[],
  ready: RegExp | (() => Promise<boolean>),
  options: { readonly uid?: number; readonly gid?: number; readonly env?: Record<string, string> } = {},
): Promise<RealServer> {
  const { env, ...rest } = options;
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
    ...rest,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  const until = Date.now() + 60_000;
  while (!(ready instanceof RegExp ? ready.test(said) : await ready())) {
    if (failure || child.exitCode !== null || child.signalCode !== null || Date.now() > until) {
      kill(child, 'SIGKILL');
      throw new Error(`${program} ${args.join(' ')}: ${failure?.message ?? 'is not ready'}\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    pid: child.pid!,
    said: () => said,
    async freeze() {
      kill(child, 'SIGSTOP');
      while (!(await isStopped(child.pid!))) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    thaw: () => kill(child, 'SIGCONT'),
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', () => resolve());
        kill(child, 'SIGCONT');
        kill(child, 'SIGTERM');
        setTimeout(() => kill(child, 'SIGKILL'), 5_000).unref();
      }),
  };
}

/** Signals the server with all the processes it made. */
function kill({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

/** Whether no thread of a group of processes runs any more: a signal reaches them one after the other. */
async function isStopped(group: number): Promise<boolean> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  for (const pid of pids) {
    const found = /\) (\S) [0-9]+ ([0-9]+) /.exec(await statOf(`/proc/${pid}`));
    if (Number(found?.[2]) !== group || found?.[1] === 'Z') continue;
    const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
    const states = await Promise.all(tasks.map((task) => statOf(`/proc/${pid}/task/${task}`)));
    if (!states.every((state) => state === '' || /\) T /.test(state))) return false;
  }
  return true;
}

/** What the kernel says of a process or thread (proc(5)); nothing where it has ended. */
function statOf(folder: string): Promise<string> {
  return readFile(`${folder}/stat`, 'utf8').catch(() => '');
}
