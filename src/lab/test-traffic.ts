import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { spawnInNetns } from '../sys/netns.ts';
import { patternBytes } from './pattern.ts';
import { probe } from './probe.ts';
import { findNginx } from './real-servers.ts';
import { run } from './run.ts';
import { labDirectory } from './store.ts';

/** Traffic of `lab test`, by the programs this machine has. All of it starts in the client's namespace. */

const connectionTimeoutMs = 2000;
const chunkBytes = 1 << 20;

export function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

/**
 * Opens connections one after another, each closed before the next; who answered, in order. `(reason)` stands for a
 * connection without answer. By one curl where there is one.
 */
export async function askInTurn(
  netns: string,
  address: string,
  port: number,
  connections: number,
): Promise<string[]> {
  if (isInstalled('curl')) {
    const seconds = String(connectionTimeoutMs / 1000);
    const { stdout } = await run(
      netns,
      'curl',
      [
        ...['-sS', '--max-time', seconds, '-H', 'Connection: close'],
        ...['-w', '%{exitcode} %{http_code}\\n', `http://${address}:${port}/[1-${connections}]`],
      ],
      { timeoutMs: connections * connectionTimeoutMs + 10_000 },
    );
    return readAnswers(stdout);
  }
  const answers: string[] = [];
  for (let i = 0; i < connections; i++) {
    const result = await probe(netns, { address, port, http: true, timeoutMs: connectionTimeoutMs });
    answers.push('answer' in result ? result.answer : `(${result.reason})`);
  }
  return answers;
}

/** Reads what the curl above wrote: the body's line, then exit code and HTTP status; only the latter on failure. */
export function readAnswers(text: string): string[] {
  const answers: string[] = [];
  let body: string | undefined;
  for (const line of text.split('\n')) {
    const end = /^(\d+) (\d{3})$/.exec(line);
    if (!end) {
      if (line !== '') body = line;
      continue;
    }
    const [, exit, status] = end;
    if (exit === '0' && status === '200' && body !== undefined) answers.push(body);
    else answers.push(exit === '0' ? `(HTTP ${status})` : `(curl ${exit})`);
    body = undefined;
  }
  return answers;
}

export type LoadResult = { readonly requestsPerSecond: number; readonly errors: number };

/** Many requests over a few connections, with wrk. */
export async function load(
  netns: string,
  address: string,
  port: number,
  seconds: number,
): Promise<LoadResult> {
  const { stdout, stderr, status } = await run(
    netns,
    'wrk',
    ['-t1', '-c8', `-d${seconds}s`, `http://${address}:${port}/`],
    { timeoutMs: (seconds + 10) * 1000 },
  );
  if (status !== 0) throw new Error(`wrk ended with status ${status}: ${stderr.trim() || stdout.trim()}`);
  return readLoad(stdout);
}

/** Reads wrk's report; errors are its socket errors and answers other than 2xx and 3xx. */
export function readLoad(text: string): LoadResult {
  const sockets = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  return {
    requestsPerSecond: Number(/Requests\/sec: +([\d.]+)/.exec(text)?.[1] ?? 0),
    errors: refused + (sockets?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0),
  };
}

export type TransferResult = { readonly seconds: number; readonly intact: boolean };

/** Puts the file that is transferred where nginx serves it. Not needed without nginx. Returns its SHA-256. */
export function prepareTransfer(lab: string, bytes: number): string {
  const directory = join(labDirectory(lab), 'files');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const hash = createHash('sha256');
  const fd = findNginx() === undefined ? undefined : openSync(join(directory, 'big'), 'w', 0o600);
  try {
    for (let at = 0; at < bytes; at += chunkBytes) {
      const chunk = patternBytes(at, Math.min(chunkBytes, bytes - at));
      hash.update(chunk);
      if (fd !== undefined) writeSync(fd, chunk);
    }
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return hash.digest('hex');
}

/** One long download by curl, compared with what was sent. */
export async function transfer(
  netns: string,
  address: string,
  port: number,
  { bytes, sha256 }: { bytes: number; sha256: string },
): Promise<TransferResult> {
  const path = findNginx() === undefined ? `big?bytes=${bytes}` : 'files/big';
  const started = performance.now();
  const child = spawnInNetns(
    netns,
    'curl',
    ['-sS', '--max-time', '60', '-H', 'Connection: close', `http://${address}:${port}/${path}`],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const hash = createHash('sha256');
  child.stdout!.on('data', (chunk: Buffer) => hash.update(chunk));
  await once(child, 'close');
  return { seconds: (performance.now() - started) / 1000, intact: hash.digest('hex') === sha256 };
}
