import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A real server that a test started. */
export type RealServer = {
  readonly pid: number;
  /** What it has said so far. */
  readonly said: () => string;
  /** Holds it as it is: it answers nothing, and its sockets stay. */
  readonly freeze: () => void;
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
    freeze: () => kill(child, 'SIGSTOP'),
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
