import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import { isSystemError } from '../sys/ffi.ts';
import { acquireLock, type Lock, LockHeldError, tryLock } from '../sys/lock.ts';
import { netnsCookie } from '../sys/netns.ts';

/*
 * What every plane in the kernel has on this machine: a folder for each network namespace, with the lock that makes one
 * writer of many commands.
 */

/** Where instances keep what is not pinned: one folder each, named by the network namespace's cookie. */
export const runDirectory = '/run/headgate';

/** The lock of an instance. */
export const lockPath = (instance: string) => join(runDirectory, instance, 'lock');

/** What lives as long as the plane, beside what is pinned. */
export const planeDirectory = (instance: string) => join(runDirectory, instance, 'plane');

/** The folder of this network namespace's instance; it may not be there. */
export const instanceDirectory = (): string => join(runDirectory, String(netnsCookie()));

/** Where the plane of this network namespace keeps what lives as long as it does; it may not be there. */
export const hostPlaneDirectory = (): string => planeDirectory(String(netnsCookie()));

/** What the ipvs plane keeps beside the kernel's table; it is there from that plane's first change on. */
export const ipvsFile = (directory: string) => join(directory, 'ipvs.json');

/** Whether something was changed by the ipvs plane in an instance's network namespace, and it was not removed since. */
export const usesIpvs = (instance: string): boolean => existsSync(ipvsFile(planeDirectory(instance)));

/** The same of this network namespace. */
export const usesIpvsHere = (): boolean => usesIpvs(String(netnsCookie()));

/** A second command waits this long for the first to finish. */
const lockWaitMs = 10_000;

/** Takes the lock of an instance; waits for whoever has it. Rejects with HG_LOCK_HELD, HG_RUN_DIRECTORY. */
export async function takeLock(instance: string): Promise<Lock> {
  try {
    // One by one: a recursive mkdir does not tell a read-only file system from a missing folder.
    for (const folder of [runDirectory, join(runDirectory, instance)]) makeFolder(folder);
    return await acquireLock(lockPath(instance), { waitMs: lockWaitMs });
  } catch (error) {
    if (error instanceof LockHeldError) {
      throw new HeadgateError('HG_LOCK_HELD', `Cannot change the data plane: ${error.message}`, {
        cause: error,
      });
    }
    if (isSystemError(error, 'EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOSPC')) {
      const full = error.code === 'ENOSPC' ? 'the file system is full' : error.code;
      const why = error.code === 'EROFS' ? 'the file system is read-only' : full;
      throw new HeadgateError('HG_RUN_DIRECTORY', `Cannot write to "${runDirectory}": ${why}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** Removes what a plane keeps of an instance in its folder; nothing where there is none. */
export const removePlaneDirectory = (instance: string) =>
  rmSync(planeDirectory(instance), { recursive: true, force: true });

/** Removes folders that hold nothing but sockets at which nobody listens any more, as far as this user may look into them. */
export async function removeSilentFolders(): Promise<void> {
  for (const instance of namesIn(runDirectory)) {
    const folder = join(runDirectory, instance);
    if (!/^\d+$/.test(instance) || !(await deadSocketsIn(folder, []))) continue;
    const lock = tryLock(lockPath(instance));
    if (!('remove' in lock)) continue;
    // Somebody may have come before we had the lock.
    const dead = (await deadSocketsIn(folder, [basename(lockPath(instance))])) ?? [];
    for (const socket of dead) rmSync(socket, { force: true });
    lock.remove();
  }
}

/** The sockets of a folder that has nothing else, but what is named; undefined where it has, or where somebody listens. */
async function deadSocketsIn(
  folder: string,
  beside: readonly string[],
): Promise<readonly string[] | undefined> {
  const names = namesIn(folder).filter((name) => !beside.includes(name));
  if (names.length === 0 || !names.every((name) => name.endsWith('.sock'))) return undefined;
  const sockets = names.map((name) => join(folder, name));
  const alive = await Promise.all(sockets.map(listensAt));
  return alive.includes(true) ? undefined : sockets;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES')) throw error;
    return [];
  }
}

const listensAt = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const end = (listens: boolean) => {
      socket.destroy();
      resolve(listens);
    };
    const socket = connect(path);
    socket.once('connect', () => end(true));
    // What cannot be asked may be somebody.
    socket.once('error', (error) => end(!isSystemError(error, 'ECONNREFUSED', 'ENOENT')));
  });

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
}
