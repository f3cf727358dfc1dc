import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { bpfAccess } from '../../sys/bpf/probe.ts';
import { hasCapability } from '../../sys/capability.ts';
import { type Lock, removeIdleLock, tryLock } from '../../sys/lock.ts';
import { BpffsError, ensureBpffs } from '../../sys/mount.ts';
import { netnsCookie } from '../../sys/netns.ts';
import type { DataPlane } from '../data-plane.ts';
import {
  lockPath,
  planeDirectory,
  removePlaneDirectory,
  runDirectory,
  takeLock,
  usesIpvs,
} from '../instance-folder.ts';
import { type EbpfOptions, openEbpfPlane, removeDeadInstances } from './plane.ts';
import { withSyncSysctls } from './sync-sysctls.ts';

/**
 * Opens the ebpf plane of this process's network namespace and takes its lock, or shares `held`, which `close` and `cleanUp`
 * let go of: whoever holds it is the one writer. Rejects with a HeadgateError: no root, no BPF, no bpffs, or the lock is held.
 */
export async function openHostPlane(
  options: Omit<EbpfOptions, 'bpffs' | 'instance'> = {},
  held?: Pick<Lock, 'share'>,
): Promise<DataPlane> {
  refuseWithoutPrivilege();
  const instance = String(netnsCookie());
  const lock = held?.share() ?? (await takeLock(instance));
  try {
    const bpffs = bpffsOrError();
    const gone = removeDeadInstances(bpffs, instance, (other) => removeIdleLock(lockPath(other)));
    for (const other of gone) rmSync(join(runDirectory, other), { recursive: true, force: true });
    removeLeftLocks(bpffs, instance);
    if (!existsSync(join(bpffs, instance))) removePlaneDirectory(instance);
    const plane = openEbpfPlane({ bpffs, instance, ...options });
    return {
      ...plane,
      lock,
      directory: planeDirectory(instance),
      ...withSyncSysctls(plane, planeDirectory(instance)),
      ...syncMethods(plane, planeDirectory(instance), () => existsSync(join(bpffs, instance))),
      async close() {
        await plane.close();
        // Looking at a namespace without a plane leaves nothing behind.
        if (existsSync(join(bpffs, instance))) lock.release();
        else lock.remove();
      },
      async cleanUp() {
        await stopAllSync(planeDirectory(instance));
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

/** Connection sync as processes; what a process works on is set up first. Loaded when it is asked for. */
function syncMethods(
  plane: DataPlane,
  directory: string,
  isSetUp: () => boolean,
): Required<Pick<DataPlane, 'startSync' | 'stopSync' | 'syncDaemons'>> {
  const processes = async () => (await import('./sync-processes.ts')).syncProcesses(directory);
  return {
    async startSync(settings) {
      if (!isSetUp()) await plane.apply([{ kind: 'set-timeouts', timeouts: {} }]);
      return (await processes()).startSync(settings);
    },
    stopSync: async (role) => (await processes()).stopSync(role),
    syncDaemons: async () => (hasSync(directory) ? (await processes()).syncDaemons() : []),
  };
}

/** Whether a sync process listens there, or did; what talks to one is loaded only then. */
const hasSync = (directory: string) =>
  existsSync(directory) && readdirSync(directory).some((name) => name.startsWith('sync-'));

/** Ends the sync processes beside a plane. */
export async function stopAllSync(directory: string): Promise<void> {
  if (!hasSync(directory)) return;
  const { syncProcesses } = await import('./sync-processes.ts');
  const { stopSync } = syncProcesses(directory);
  for (const role of ['master', 'backup'] as const) await stopSync(role);
}

/** Throws HG_NOT_ROOT, HG_NO_BPF. */
export function refuseWithoutPrivilege(): void {
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

/**
 * Locks without an instance are what commands that were killed left behind. One in use is left alone with its folder: its
 * holder may be about to set the instance up.
 */
function removeLeftLocks(bpffs: string, own: string): void {
  for (const name of readdirSync(runDirectory)) {
    // What IPVS holds of a namespace cannot be seen from here.
    if (!/^\d+$/.test(name) || name === own || existsSync(join(bpffs, name)) || usesIpvs(name)) continue;
    // Every command comes by here, and most folders that are left hold a socket of a daemon that was killed, which is no matter.
    if (!existsSync(lockPath(name)) && !existsSync(planeDirectory(name))) continue;
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

/** The bpffs of instances, mounted where it is not. Throws HG_NO_BPFFS. */
export function bpffsOrError(): string {
  try {
    return ensureBpffs();
  } catch (error) {
    if (!(error instanceof BpffsError)) throw error;
    throw new HeadgateError('HG_NO_BPFFS', `Cannot open the data plane: ${error.message}`, { cause: error });
  }
}
