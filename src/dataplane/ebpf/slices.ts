import type { MapHandle } from '../../sys/bpf/map.ts';

/** Connections in a slice: SLICE_BITS of bpf/maps.h. */
const sliceBits = 8;

/**
 * Makes the sweeper look at every slice with connections up to slot `last` soon; it works out by itself when to come back.
 * `now` is any moment that has passed, jiffies.
 */
export function wakeSlices(slices: MapHandle, now: number, last: number): void {
  const due = Buffer.alloc(slices.valueSize);
  due.writeUInt32LE((now | 1) >>> 0);
  for (let slice = 0; slice <= last >> sliceBits; slice++) slices.update(slice, due);
}
