import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { bpfAccess } from '../../sys/bpf/probe.ts';
import { hasCapability } from '../../sys/capability.ts';
import { isSystemError } from '../../sys/ffi.ts';
import { acquireLock, type Lock, LockHeldError, removeIdleLock, tryLock } from '../../sys/lock.ts';
import { BpffsError, ensureBpffs } from '../../sys/mount.ts';
import { netnsCookie } from '../../sys/netns.ts';
import type { DataPlane } from '../data-plane.ts';
import { type EbpfOptions, openEbpfPlane, removeDeadInstances } from './plane.ts';

/** Where instances keep what is not pinned: one folder each, named by the network namespace's cookie. */
const runDirectory = '/run/headgate';

const lockPath = (instance: string) => join(runDirectory, instance, 'lock');

/** What lives as long as the plane, beside what is pinned. */
const planeDirectory = (instance: string) => join(runDirectory, instance, 'plane');

/** The folder of this network namespace's instance; it may not be there. */
export const instanceDirectory = (): string => join(runDirectory, String(netnsCookie()));

/** Where the plane of this network namespace keeps what lives as long as it does; it may not be there. */
export const hostPlaneDirectory = (): string => planeDirectory(String(netnsCookie()));

/** A second command waits this long for the first to finish. */
const lockWaitMs = 10_000;

/**
 * Opens the ebpf plane of this process's network namespace and takes its lock, which `close` and `cleanUp` let go of:
 * whoever holds it is the one writer. Rejects with a HeadgateError: no root, no BPF, no bpffs, or the lock is held.
 */
export async function openHostPlane(
  options: Omit<EbpfOptions, 'bpffs' | 'instance'> = {},
): Promise<DataPlane> {
  refuseWithoutPrivilege();
  const instance = String(netnsCookie());
  const lock = await takeLock(instance);
  try {
    const bpffs = bpffsOrError();
    const gone = removeDeadInstances(bpffs, instance, (other) => removeIdleLock(lockPath(other)));
    for (const other of gone) rmSync(join(runDirectory, other), { recursive: true, force: true });
    removeLeftLocks(bpffs, instance);
    if (!existsSync(join(bpffs, instance))) removePlaneDirectory(instance);
    const plane = openEbpfPlane({ bpffs, instance, ...options });
    return {
      ...plane,
      directory: planeDirectory(instance),
      async close() {
        await plane.close();
        // Looking at a namespace without a plane leaves nothing behind.
        if (existsSync(join(bpffs, instance))) lock.release();
        else lock.remove();
      },
      async cleanUp() {
        await plane.cleanUp();
        removePlaneDirectory(instance);
        lock.remove();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function refuseWithoutPrivilege(): void {
  if (!hasCapability('net_admin')) {
    throw new HeadgateError(
      'HG_NOT_ROOT',
      'Cannot open the data plane: this user may not administer the network',
    );
  }
  const access = bpfAccess();
  if (access.state === 'allowed') return;
  if (access.state === 'forbidden') {
    throw new HeadgateError('HG_NOT_ROOT', 'Cannot open the data plane: the kernel refuses BPF to this user');
  }
  throw new HeadgateError('HG_NO_BPF', 'Cannot open the data plane: this kernel has no BPF system call');
}

async function takeLock(instance: string): Promise<Lock> {
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

/**
 * Locks without an instance are what commands that were killed left behind. One in use is left alone with its folder: its
 * holder may be about to set the instance up.
 */
function removeLeftLocks(bpffs: string, own: string): void {
  for (const name of readdirSync(runDirectory)) {
    if (!/^\d+$/.test(name) || name === own || existsSync(join(bpffs, name))) continue;
    const lock = tryLock(lockPath(name));
    if (!('remove' in lock)) continue;
    if (existsSync(join(bpffs, name))) {
      lock.release();
      continue;
    }
    removePlaneDirectory(name);
    lock.remove();
  }
}

const removePlaneDirectory = (instance: string) =>
  rmSync(planeDirectory(instance), { recursive: true, force: true });

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
  }
}

function bpffsOrError(): string {
  try {
    return ensureBpffs();
  } catch (error) {
    if (!(error instanceof BpffsError)) throw error;
    throw new HeadgateError('HG_NO_BPFFS', `Cannot open the data plane: ${error.message}`, { cause: error });
  }
}
