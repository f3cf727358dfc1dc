import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that is gone after `remove`. */
export function newFolder() {
  const path = mkdtempSync(join(tmpdir(), 'headgate-checks-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Starts a server that stays in the foreground, and waits until it takes connections at its ports. */
export async function start(program: string, parameters: readonly string[], ports: readonly number[]) {
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(timer);
  };
  try {
    for (const port of ports) await listening(port, child, () => said);
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop, said: () => said };
}

async function listening(port: number, child: ChildProcess, said: () => string): Promise<void> {
  const untilMs = performance.now() + 20_000;
  while (!(await takesConnections(port))) {
    if (child.exitCode !== null || performance.now() > untilMs) {
      throw new Error(`${child.spawnfile} does not listen on port ${port}: ${said()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
