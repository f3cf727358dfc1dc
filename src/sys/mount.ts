import { closeSync, mkdirSync, openSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { bindLibc, checked, isSystemError } from './ffi.ts';
import { mountVirtual, unmount } from './mount-calls.ts';
import { moduleProgram } from './program.ts';

/**
 * The BPF file system that holds the pins. It has to outlive the command that makes it, so it is mounted in the host's
 * mount namespace: that of process 1. A command under `ip netns exec` lives in a mount namespace of its own, and what it
 * mounts there is gone when it ends.
 */

const bpffsMagic = 0xcafe4a11;
const lockExclusive = 2;
const childTimeoutMs = 20_000;
export const bpffsDirectory = '/run/headgate/bpf';

const cFlock = bindLibc('flock', 'int', ['int', 'int']);

/** Why there is no bpffs: the caller may not mount, the kernel has no bpffs, or something else failed. */
export class BpffsError extends Error {
  readonly reason: 'not-permitted' | 'not-supported' | 'failed';

  constructor(reason: 'not-permitted' | 'not-supported' | 'failed', message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'BpffsError';
    this.reason = reason;
  }
}

/** A mount namespace seen from ours: where its root is, and what to hand to setns. */
type MountNamespace = { readonly root: string; readonly path: string; readonly pid: number };

/**
 * The mount namespace that outlives this command; undefined when it is our own. Where process 1 may not be looked at
 * (a security module, hidepid) it is that of the nearest ancestor which has another one than we: who started
 * `ip netns exec`.
 */
export function hostMountNamespace(): MountNamespace | undefined {
  const own = statSync('/proc/self/ns/mnt').ino;
  const first = namespaceOf(1);
  if (first !== undefined) return first === own ? undefined : of(1);
  for (let pid = parentOf('self'); pid !== undefined && pid > 1; pid = parentOf(pid)) {
    const inode = namespaceOf(pid);
    if (inode === undefined) return undefined;
    if (inode !== own) return of(pid);
  }
  return undefined;
}

const of = (pid: number): MountNamespace => ({ root: `/proc/${pid}/root`, path: `/proc/${pid}/ns/mnt`, pid });

function namespaceOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/mnt`).ino;
  } catch {
    return undefined;
  }
}

function parentOf(pid: number | 'self'): number | undefined {
  try {
    const match = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return match ? Number(match[1]) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a path lies on a BPF file system. */
export function isBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === bpffsMagic;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * Makes sure the bpffs is mounted (mode 0700) and returns the path to reach it by from this process. Idempotent; two
 * callers at once mount once. Throws BpffsError.
 */
export function ensureBpffs({ directory = bpffsDirectory }: { directory?: string } = {}): string {
  const host = hostMountNamespace();
  const seen = `${host?.root ?? ''}${directory}`;
  try {
    if (isBpffs(seen)) return lasting(seen, host);
    mkdirSync(seen, { recursive: true, mode: 0o700 });
    whileLocked(`${seen}/..`, () => {
      if (isBpffs(seen)) return;
      if (host) runChild(host, 'mount', directory);
      else mountVirtual('bpf', directory, 'mode=0700');
    });
  } catch (error) {
    throw explained(error, directory);
  }
  return lasting(seen, host);
}

const held = new Map<string, string>();

/** A path that stays good when the process we found the namespace by ends: only process 1 never does. */
function lasting(seen: string, host: MountNamespace | undefined): string {
  if (!host || host.pid === 1) return seen;
  const path = held.get(seen) ?? `/proc/${process.pid}/fd/${openSync(seen, 'r')}`;
  held.set(seen, path);
  return path;
}

/** Unmounts the bpffs, with every pin on it. No error when it is not mounted. */
export function removeBpffs({ directory = bpffsDirectory }: { directory?: string } = {}): void {
  const host = hostMountNamespace();
  if (!isBpffs(`${host?.root ?? ''}${directory}`)) return;
  try {
    if (host) runChild(host, 'unmount', directory);
    else unmount(directory, { detach: true });
  } catch (error) {
    throw explained(error, directory);
  }
}

function whileLocked(path: string, work: () => void): void {
  const fd = openSync(path, 'r');
  try {
    checked(cFlock(fd, lockExclusive), 'flock', `"${path}"`);
    work();
  } finally {
    closeSync(fd);
  }
}

/**
 * Acts in another mount namespace. It takes a process: a thread of this one could only go there by giving up the
 * working directory it shares with the others.
 */
function runChild(host: MountNamespace, action: 'mount' | 'unmount', directory: string): void {
  const program = [...moduleProgram('sys/mount-child'), host.path, action, directory];
  // Loaded here: it costs every command that starts no process several milliseconds.
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const child = spawnSync(process.execPath, program, { encoding: 'utf8', timeout: childTimeoutMs });
  if (child.error) throw child.error;
  if (child.status === 0) return;
  const line = child.stderr.trim().split('\n').at(-1) ?? '';
  const code = /\b(E[A-Z0-9]+)\b/.exec(line)?.[1];
  throw Object.assign(new Error(line || `the ${action} process ended with ${child.signal ?? child.status}`), {
    code,
  });
}

function explained(error: unknown, directory: string): BpffsError {
  const detail = error instanceof Error ? error.message : String(error);
  if (isSystemError(error, 'EPERM', 'EACCES'))
    return new BpffsError(
      'not-permitted',
      `mount the BPF file system on "${directory}": not permitted (${detail}); it takes root with CAP_SYS_ADMIN`,
      error,
    );
  if (isSystemError(error, 'ENODEV'))
    return new BpffsError(
      'not-supported',
      `mount the BPF file system on "${directory}": this kernel has none; it takes one built with CONFIG_BPF_SYSCALL`,
      error,
    );
  return new BpffsError('failed', `mount the BPF file system on "${directory}": ${detail}`, error);
}
