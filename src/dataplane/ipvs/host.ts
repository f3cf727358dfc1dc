import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { hasCapability } from '../../sys/capability.ts';
import type { Lock } from '../../sys/lock.ts';
import { bpffsDirectory, hostMountNamespace } from '../../sys/mount.ts';
import { netnsCookie } from '../../sys/netns.ts';
import type { DataPlane } from '../data-plane.ts';
import { planeDirectory, removePlaneDirectory, takeLock, usesIpvs } from '../instance-folder.ts';
import { openIpvsPlane } from './plane.ts';

/** Whether an instance has programs of the ebpf plane. */
const usesEbpf = (instance: string): boolean =>
  existsSync(`${hostMountNamespace()?.root ?? ''}${join(bpffsDirectory, instance)}`);

/**
 * Opens the kernel's IPVS in this process's network namespace and takes the instance's lock, or shares `held`, which `close` and
 * `cleanUp` let go of. `because` says why it is this plane. Rejects with a HeadgateError: no root, no IPVS, the lock is held, or
 * there is another plane.
 */
export async function openHostIpvsPlane(because: string, held?: Pick<Lock, 'share'>): Promise<DataPlane> {
  if (!hasCapability('net_admin'))
    throw new HeadgateError(
      'HG_NOT_ROOT',
      'Cannot open the data plane: this user may not administer the network',
    );
  const instance = String(netnsCookie());
  const lock = held?.share() ?? (await takeLock(instance));
  try {
    if (usesEbpf(instance) && usesIpvs(instance))
      throw new HeadgateError(
        'HG_MOVE',
        'Cannot change the data plane: a move between ebpf and ipvs was cut off here; until it ends both forward, each what it knows',
        {
          hint: 'headgate migrate ipvs-to-ebpf --yes ends it, and so does headgate migrate ebpf-to-ipvs --yes',
        },
      );
    if (usesEbpf(instance))
      throw new HeadgateError(
        'HG_USAGE',
        'Cannot use the data plane "ipvs" here: the data plane of this network namespace is "ebpf", which takes packets before IPVS sees them',
        { hint: 'headgate migrate ebpf-to-ipvs (connections go on), or dataPlane: ebpf' },
      );
    if (!usesIpvs(instance)) removePlaneDirectory(instance);
    const plane = openIpvsPlane({ directory: planeDirectory(instance), because });
    return {
      ...plane,
      lock,
      async close() {
        await plane.close();
        // Looking at a namespace leaves nothing behind.
        if (usesIpvs(instance)) lock.release();
        else lock.remove();
      },
      async cleanUp() {
        await plane.cleanUp();
        removePlaneDirectory(instance);
        lock.remove();
      },
    };
  } catch (error) {
    // The folder of a plane that is there stays.
    if (usesIpvs(instance) || usesEbpf(instance)) lock.release();
    else lock.remove();
    throw error;
  }
}
