import type { Counters, Rates } from './table.ts';

/** What a data plane has done in all, for services and destinations that are no more as well. */
export type Totals = {
  /** Since it was set up, or all counters were zeroed. */
  readonly counters: Counters;
  readonly rates: Rates;
  /** Since it was set up, by the number of the processor; zeroing leaves them alone, as the kernel does. */
  readonly perCpu: readonly Counters[];
  /** Timer ticks a second (the kernel's CONFIG_HZ), in which it counts lifetimes. */
  readonly ticksPerSecond: number;
};

export const nothingCounted: Counters = {
  connections: 0n,
  packetsIn: 0n,
  packetsOut: 0n,
  bytesIn: 0n,
  bytesOut: 0n,
};

/** The sum of both. */
export function sumOfCounters(a: Counters, b: Counters): Counters {
  return {
    connections: a.connections + b.connections,
    packetsIn: a.packetsIn + b.packetsIn,
    packetsOut: a.packetsOut + b.packetsOut,
    bytesIn: a.bytesIn + b.bytesIn,
    bytesOut: a.bytesOut + b.bytesOut,
  };
}
