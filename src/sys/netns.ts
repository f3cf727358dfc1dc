import type { ChildProcess, SpawnOptions, SpawnSyncReturns } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { errnoName } from './errno.ts';
import { bindLibc, checked, closeFd, isSystemError, lastErrno } from './ffi.ts';
import { bindMount, makeShared, unmount } from './mount-calls.ts';
import { families, getSocketOption, openSocket, socketTypes } from './socket.ts';

/** Loaded when a process is started: it costs every command that starts none several milliseconds. */
const childProcess = () => process.getBuiltinModule('node:child_process');

/**
 * Network namespaces, named ones compatible with `ip netns`.
 *
 * A namespace belongs to a thread. JavaScript runs on one thread, so a synchronous stretch of it can go into a namespace
 * and come back unseen by the rest of the process: sockets opened there stay there, and a process started there is born
 * there. That needs no launcher and no second process.
 */

const directory = '/run/netns';
const ownNetns = '/proc/thread-self/ns/net';
const cloneNewNet = 0x40000000;
const solSocket = 1;
const soNetnsCookie = 71;

const atEmptyPath = 0x1000;
/** struct file_handle: room for what follows, its type, and the most that follows (MAX_HANDLE_SZ). */
const [handleHead, handleMost] = [8, 128];

const cNameToHandleAt = bindLibc('name_to_handle_at', 'int', ['int', 'str', 'void *', 'void *', 'int']);
const cOpenByHandleAt = bindLibc('open_by_handle_at', 'int', ['int', 'void *', 'int']);
const cSetns = bindLibc('setns', 'int', ['int', 'int']);
const cUnshare = bindLibc('unshare', 'int', ['int']);

/** The path of a named namespace. Throws RangeError when the name cannot be a file name. */
export function netnsPath(name: string): string {
  if (!/^[^/\0]{1,255}$/.test(name) || name === '.' || name === '..')
    throw new RangeError(`network namespace name "${name}": wanted a file name`);
  return `${directory}/${name}`;
}

/** A number that names the caller's network namespace for as long as the kernel runs (SO_NETNS_COOKIE, Linux 5.14). */
export function netnsCookie(): bigint {
  const fd = openSocket(families.unix, socketTypes.datagram, 0);
  try {
    return getSocketOption(fd, solSocket, soNetnsCookie, 8).readBigUInt64LE(0);
  } finally {
    closeFd(fd);
  }
}

/** The inode of a namespace, the number in `net:[4026531840]`. The kernel gives it to another namespace afterwards. */
export function netnsInode(path: string = ownNetns): number {
  return statSync(path).ino;
}

/**
 * A word for the caller's network namespace by which `isNetnsGone` knows it: a file handle of nsfs, in hexadecimal. Undefined where
 * the kernel gives none, as before Linux 6.18.
 */
export function netnsHandle(): string | undefined {
  return withOwnNetns((fd) => {
    const handle = Buffer.alloc(handleHead + handleMost);
    handle.writeUInt32LE(handleMost, 0);
    if (cNameToHandleAt(fd, '', handle, Buffer.alloc(8), atEmptyPath) < 0) return undefined;
    return handle.toString('hex', 0, handleHead + handle.readUInt32LE(0));
  });
}

/** Whether the namespace of a handle has ended; false as well where this kernel, or this user, cannot be told. */
export function isNetnsGone(handle: string): boolean {
  const own = netnsHandle();
  if (own === undefined || !/^([0-9a-f]{2}){9,136}$/.test(handle)) return false;
  return withOwnNetns((fd) => {
    const find = (one: string): string | undefined => {
      const found = cOpenByHandleAt(fd, Buffer.from(one, 'hex'), 0);
      if (found < 0) return errnoName(lastErrno());
      closeFd(found);
      return undefined;
    };
    // Who does not even find his own namespace does not find those of others.
    return find(own) === undefined && find(handle) === 'ESTALE';
  });
}

function withOwnNetns<T>(work: (fd: number) => T): T {
  const fd = openSync(ownNetns, 'r');
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Runs `work` inside a namespace (`/run/netns/name`, `/proc/PID/ns/net`) and returns to the caller's. `work` must be
 * synchronous: what it leaves to later runs outside. Needs CAP_SYS_ADMIN.
 */
export function withNetns<T>(path: string, work: () => T): T {
  const there = openSync(path, 'r');
  try {
    return returning(() => {
      checked(cSetns(there, cloneNewNet), 'setns', `"${path}"`);
      return work();
    });
  } finally {
    closeSync(there);
  }
}

/** Runs `work`, which may change the thread's network namespace, and puts the thread back. */
function returning<T>(work: () => T): T {
  const home = openSync(ownNetns, 'r');
  try {
    const result = work();
    if (result instanceof Promise) throw new TypeError('work inside a network namespace must be synchronous');
    return result;
  } finally {
    checked(cSetns(home, cloneNewNet), 'setns', 'back to the own network namespace');
    closeSync(home);
  }
}

/** Makes a namespace with a name, as `ip netns add` does. Its loopback is down. Throws SystemError (EEXIST, EPERM). */
export function createNamedNetns(name: string): void {
  const path = netnsPath(name);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  // Other mount namespaces must see the name come and go; a directory can be shared only where it is a mount.
  try {
    makeShared(directory);
  } catch (error) {
    if (!isSystemError(error, 'EINVAL')) throw error;
    bindMount(directory, directory, { recursive: true });
    makeShared(directory);
  }
  closeSync(openSync(path, 'wx', 0o000));
  try {
    returning(() => {
      checked(cUnshare(cloneNewNet), 'unshare', 'network namespace');
      bindMount(ownNetns, path);
    });
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/** Removes a name. The namespace itself lives on while a process or socket is in it. No error when there is none. */
export function deleteNamedNetns(name: string): void {
  const path = netnsPath(name);
  try {
    unmount(path, { detach: true });
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    if (!isSystemError(error, 'EINVAL')) throw error;
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
}

/** The names in /run/netns, sorted. */
export function listNamedNetns(): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Processes whose main thread is in the namespace; those we may not look at are left out. */
export function processesInNetns(path: string): number[] {
  const inode = netnsInode(path);
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return statSync(`/proc/${pid}/ns/net`).ino === inode;
      } catch {
        return false;
      }
    });
}

/**
 * Starts a process inside a named namespace: an ordinary ChildProcess. /sys is not mounted anew, so it shows the devices
 * of the namespace it was mounted in.
 */
export function spawnInNetns(
  name: string,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  return withNetns(netnsPath(name), () => childProcess().spawn(command, args, options));
}

/** Runs a process inside a named namespace to its end. Blocks; give it a `timeoutMs`. */
export function runInNetns(
  name: string,
  command: string,
  args: readonly string[],
  { timeoutMs = 30_000, input, env }: { timeoutMs?: number; input?: string; env?: NodeJS.ProcessEnv } = {},
): SpawnSyncReturns<string> {
  return withNetns(netnsPath(name), () =>
    childProcess().spawnSync(command, args, {
      encoding: 'utf8',
      timeout: timeoutMs,
      maxBuffer: 64 * 1024 * 1024,
      ...(input === undefined ? {} : { input }),
      ...(env === undefined ? {} : { env }),
    }),
  );
}
