import { mhTableIndexes, mhTableSize } from '../../model/schedulers/mh.ts';
import { serviceKey } from '../../model/service-id.ts';
import type { Operation, Refusal } from '../../model/table.ts';
import type { ServiceId } from '../../model/virtual-service.ts';
import { kernelSetting } from '../../sys/kernel-module.ts';
import type { Kernel } from './kernel.ts';

let found: number | undefined;

/** CONFIG_IP_VS_MH_TAB_INDEX of the running kernel, looked up once; the usual one unless the distribution says otherwise. */
export function kernelMhTableIndex(): number {
  const { least, most, usual } = mhTableIndexes;
  const built = Number(found ?? kernelSetting('CONFIG_IP_VS_MH_TAB_INDEX') ?? usual);
  found = built >= least && built <= most ? built : usual;
  return found;
}

/**
 * A service with mh takes more destinations than its table has buckets, without a word, and from then on goes by the table
 * it had before (ip_vs_mh_reassign: its error is not looked at). Here the first that has no place is refused.
 */
export function mhRoom(kernel: Kernel): (operation: Operation) => Refusal | undefined {
  const leastPlaces = mhTableSize(mhTableIndexes.least);
  /** `isWhole`: the size of the table was looked up, else it is the least there is. */
  const left = new Map<string, { readonly room: number; readonly isWhole: boolean }>();
  const leftIn = (id: ServiceId) => {
    if (kernel.service(id)?.scheduler !== 'mh') return { room: Number.POSITIVE_INFINITY, isWhole: true };
    const there = kernel.destinations(id).length;
    const isWhole = there >= leastPlaces;
    return { room: (isWhole ? mhTableSize(kernelMhTableIndex()) : leastPlaces) - there, isWhole };
  };
  return (operation) => {
    if (
      operation.kind === 'edit-service' ||
      operation.kind === 'flush' ||
      operation.kind === 'delete-service'
    )
      left.clear();
    if (operation.kind === 'delete-destination' && left.get(serviceKey(operation.id))?.room === 0)
      left.delete(serviceKey(operation.id));
    if (operation.kind !== 'add-destination') return undefined;
    const key = serviceKey(operation.id);
    let found = left.get(key) ?? leftIn(operation.id);
    // The least size is counted down first; how large the table really is takes a file to read.
    if (found.room <= 0 && !found.isWhole) found = leftIn(operation.id);
    left.set(key, { ...found, room: Math.max(0, found.room - 1) });
    if (found.room > 0) return undefined;
    const size = mhTableSize(kernelMhTableIndex());
    return {
      reason: 'invalid',
      detail: `the table of mh has ${size} places in this kernel, one for each destination at least: wanted one more; take another scheduler`,
    };
  };
}
