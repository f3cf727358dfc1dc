import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoName } from './errno.ts';
import { bindLibc, lastErrno, SystemError } from './ffi.ts';

const exclusive = 2;
const doNotWait = 4;
const retryMs = 20;
/** More than two processes that take the file away between two of our steps do not come by chance. */
const mostOpenings = 100;

const cFlock = bindLibc('flock', 'int', ['int', 'int']);

/**
 * A held lock. The kernel lets go of it when the process ends, however it ends. The first call of `release` or `remove` counts,
 * and where the lock is shared that of its last holder.
 */
export type Lock = {
  /** Another holder in this process; while one has it nobody else gets it. */
  share(): Lock;
  /** Lets go; the file stays for the next holder. */
  release(): void;
  /** Lets go, and removes the file and then its folder where that is empty. Whoever waits gets a file of its own. */
  remove(): void;
};

/** Who wrote its name into a lock file. */
export type LockHolder = { readonly pid: number; readonly command: string };

/** Another process holds the lock; `holder` is absent when it has not written its name (yet). */
export class LockHeldError extends Error {
  readonly path: string;
  readonly holder: LockHolder | undefined;

  constructor(path: string, holder: LockHolder | undefined, waitMs: number) {
    const who = holder ? `process ${holder.pid} (${holder.command})` : 'another process';
    const waited = waitMs > 0 ? ` after waiting ${waitMs / 1000} s` : '';
    super(`lock "${path}": still held by ${who}${waited}; try again, or end that process`);
    this.name = 'LockHeldError';
    this.path = path;
    this.holder = holder;
  }
}

/**
 * Takes an exclusive flock on `path`, made if needed (0600). Waits up to `waitMs` without blocking the event loop, so a
 * signal handler or `signal` ends the wait. Throws LockHeldError, or the signal's reason.
 */
export async function acquireLock(
  path: string,
  { waitMs = 0, signal }: { waitMs?: number; signal?: AbortSignal } = {},
): Promise<Lock> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    signal?.throwIfAborted();
    const outcome = tryLock(path);
    if ('release' in outcome) return outcome;
    const left = deadline - performance.now();
    if (left <= 0) throw new LockHeldError(path, outcome.holder, waitMs);
    await sleep(Math.min(retryMs, left), undefined, signal ? { signal } : {});
  }
}

/** One attempt: the lock, or who has it. */
export function tryLock(path: string): Lock | { readonly holder: LockHolder | undefined } {
  const fd = openLockFile(path);
  if (cFlock(fd, exclusive | doNotWait) < 0) {
    const errno = lastErrno();
    const holder = readHolder(fd);
    closeSync(fd);
    if (errnoName(errno) === 'EAGAIN') return { holder };
    throw new SystemError('flock', errno, `"${path}"`);
  }
  // The file is only ever removed under its own lock: one that stands at the path now stays there while we hold it.
  if (!standsAt(fd, path)) {
    closeSync(fd);
    return tryLock(path);
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid} ${ownCommand()}\n`, 0);
  const letGo = (beforehand?: () => void) => {
    try {
      // The name goes first: a reader between the two must not blame us.
      ftruncateSync(fd, 0);
      beforehand?.();
    } finally {
      closeSync(fd);
    }
  };
  let holders = 0;
  const share = (): Lock => {
    holders++;
    let held = true;
    const end = (beforehand?: () => void) => {
      if (!held) return;
      held = false;
      if (--holders === 0) letGo(beforehand);
    };
    return { share, release: () => end(), remove: () => end(() => removeLockFile(path)) };
  };
  return share();
}

/**
 * Removes a lock file that nobody holds, as a killed process leaves it, and then its folder where that is empty. Returns
 * whether it is gone; false means that it is in use. Safe at any time, whoever may come to take the lock.
 */
export function removeIdleLock(path: string): boolean {
  if (!existsSync(path)) return true;
  const outcome = tryLock(path);
  if (!('remove' in outcome)) return false;
  outcome.remove();
  return true;
}

/** Opens the file, made with its folder if needed; either may be taken away while this is at it. */
function openLockFile(path: string): number {
  for (let opening = 1; ; opening++) {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || opening === mostOpenings) throw error;
    }
  }
}

function standsAt(fd: number, path: string): boolean {
  const own = fstatSync(fd, { bigint: true });
  const there = statSync(path, { bigint: true, throwIfNoEntry: false });
  return there !== undefined && there.ino === own.ino && there.dev === own.dev;
}

function removeLockFile(path: string): void {
  rmSync(path, { force: true });
  try {
    rmdirSync(dirname(path));
  } catch {
    // It holds more than the lock or is not ours to remove; either way it stays.
  }
}

function readHolder(fd: number): LockHolder | undefined {
  const buffer = Buffer.alloc(512);
  const length = readSync(fd, buffer, 0, buffer.length, 0);
  const match = /^(\d+) (.*)\n/.exec(buffer.toString('utf8', 0, length));
  return match ? { pid: Number(match[1]), command: match[2]! } : undefined;
}

/** The command line as the system shows it, on one line. */
function ownCommand(): string {
  const command = readFileSync('/proc/self/cmdline', 'utf8')
    .replace(/\0$/, '')
    .replace(/[\0\n]/g, ' ');
  return Buffer.from(command).subarray(0, 400).toString();
}
