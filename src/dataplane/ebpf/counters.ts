import type { Counters, Rates } from '../../model/table.ts';
import type { Totals } from '../../model/totals.ts';
import { alignedValueSize, type MapHandle } from '../../sys/bpf/map.ts';
import { records } from './layout.generated.ts';
import type { Records } from './records.ts';

/*
 * The program counts once per destination and CPU and never starts over. Where counting began is kept beside: what is
 * shown for a destination is its count less its baseline, for a service the sum over its listed destinations less the
 * service's baseline. A destination that leaves or joins moves the service's baseline, so its sum does not jump.
 */

export type CounterMaps = {
  readonly destinationCounters: MapHandle;
  readonly destinationEstimates: Records<'estimate'>;
  readonly destinationBaselines: Records<'counters'>;
  readonly serviceBaselines: Records<'counters'>;
};

const names = ['connections', 'packets_in', 'packets_out', 'bytes_in', 'bytes_out'] as const;
type Sums = readonly bigint[];

/** Where nobody looks. */
export const noCounters = countersOf([]);

/** What the program has counted for a destination slot, over all CPUs. */
function countedOf({ destinationCounters }: CounterMaps, slot: number): Sums {
  const value = destinationCounters.lookup(slot);
  if (!value) return names.map(() => 0n);
  const stride = alignedValueSize(destinationCounters);
  return names.map((name) => {
    let sum = 0n;
    const { offset } = records.counters.fields[name];
    for (let at = offset; at < value.length; at += stride) sum += value.readBigUInt64LE(at);
    return sum;
  });
}

/** Slots that are read one by one; more of them are read all at once. */
const fewSlots = 16;

/** What the program has counted for destination slots: a system call each for a few, else one for a thousand slots. */
function countsOf(maps: CounterMaps, slots: readonly number[]): (slot: number) => Sums {
  if (slots.length <= fewSlots) return (slot) => countedOf(maps, slot);
  const last = slots.reduce((most, slot) => Math.max(most, slot), 0);
  const { valueSize, transferSize } = maps.destinationCounters;
  const width = names.length;
  const sums = new BigUint64Array((last + 1) * width);
  const places = names.map((name) => records.counters.fields[name].offset / 8);
  const [stride, cpus] = [Math.ceil(valueSize / 8), transferSize / (Math.ceil(valueSize / 8) * 8)];
  for (const { count, keys, values } of maps.destinationCounters.batches()) {
    const words = new BigUint64Array(values.buffer, values.byteOffset, values.length / 8);
    let slot = 0;
    for (let i = 0; i < count; i++) {
      slot = keys.readUInt32LE(i * 4);
      if (slot > last) break;
      for (let cpu = 0; cpu < cpus; cpu++)
        for (let name = 0; name < width; name++)
          sums[slot * width + name]! += words[(i * cpus + cpu) * stride + places[name]!]!;
    }
    // An array gives its slots in order.
    if (slot >= last) break;
  }
  return (slot) => names.map((_, name) => sums[slot * width + name]!);
}

/**
 * A destination begins to count for a service; a `fresh` one shows zero, one that comes back what it had. Nothing was
 * counted for a slot that was never used.
 */
export function joinCounters(
  maps: CounterMaps,
  service: number,
  destination: number,
  { fresh, neverUsed }: { readonly fresh: boolean; readonly neverUsed: boolean },
): void {
  // Its records are as the kernel made them: all zero.
  if (neverUsed) return;
  const counted = countedOf(maps, destination);
  names.forEach((name, i) => {
    move(maps.serviceBaselines, service, name, counted[i]!);
    if (fresh) maps.destinationBaselines.setBig(destination, name, counted[i]!);
  });
  maps.destinationEstimates.set(destination, 'seen', 0);
  zeroRates(maps, destination);
}

function zeroRates({ destinationEstimates }: CounterMaps, destination: number): void {
  for (const name of names) destinationEstimates.setBig(destination, name, 0n);
}

/** A destination is deleted: what it counted stays in the service's sum. */
export function leaveCounters(maps: CounterMaps, service: number, destination: number): void {
  const counted = countedOf(maps, destination);
  names.forEach((name, i) => {
    move(maps.serviceBaselines, service, name, -counted[i]!);
  });
}

function move(baselines: Records<'counters'>, slot: number, name: (typeof names)[number], by: bigint): void {
  baselines.setBig(slot, name, baselines.getBig(slot, name) + by);
}

/** A service and its destinations show zero from here on. */
export function zeroCounters(maps: CounterMaps, service: number, destinations: readonly number[]): void {
  const sums = names.map(() => 0n);
  for (const slot of destinations) {
    const counted = countedOf(maps, slot);
    names.forEach((name, i) => {
      sums[i]! += counted[i]!;
      maps.destinationBaselines.setBig(slot, name, counted[i]!);
    });
    zeroRates(maps, slot);
  }
  names.forEach((name, i) => {
    maps.serviceBaselines.setBig(service, name, sums[i]!);
  });
}

/** Of all slots together: the record of no service. */
const everything = 0;

/** What the program has counted since it was set up on each CPU, for destinations up to a slot: also those that are no more. */
function countedByCpu({ destinationCounters }: CounterMaps, last: number): BigUint64Array[] {
  const { valueSize, transferSize } = destinationCounters;
  const stride = Math.ceil(valueSize / 8);
  const sums = Array.from({ length: transferSize / (stride * 8) }, () => new BigUint64Array(names.length));
  const places = names.map((name) => records.counters.fields[name].offset / 8);
  for (const { count, keys, values } of destinationCounters.batches()) {
    const words = new BigUint64Array(values.buffer, values.byteOffset, values.length / 8);
    for (let i = 0; i < count; i++) {
      // An array gives its slots in order.
      if (keys.readUInt32LE(i * 4) > last) return sums;
      sums.forEach((sum, cpu) => {
        for (let name = 0; name < names.length; name++)
          sum[name]! += words[(i * sums.length + cpu) * stride + places[name]!]!;
      });
    }
  }
  return sums;
}

/** What was counted in all: since the last zeroing, and on each CPU since the beginning. */
export function readTotals(maps: CounterMaps, last: number): Pick<Totals, 'counters' | 'perCpu'> {
  const perCpu = countedByCpu(maps, last);
  return {
    counters: above(maps.serviceBaselines, everything, sumOf(perCpu)),
    perCpu: perCpu.map((sum) => countersOf([...sum])),
  };
}

/** What is counted in all shows zero from here on (ip_vs_zero_all). */
export function zeroTotals(maps: CounterMaps, last: number): void {
  const sums = sumOf(countedByCpu(maps, last));
  names.forEach((name, i) => {
    maps.serviceBaselines.setBig(everything, name, sums[i]!);
  });
}

const sumOf = (perCpu: readonly BigUint64Array[]): Sums =>
  names.map((_, i) => perCpu.reduce((sum, one) => sum + one[i]!, 0n));

/** Counters to show of services and destinations, all slots of which are `slots`. */
export function openCounters(
  maps: CounterMaps,
  slots: readonly number[],
): (
  service: number,
  destinations: readonly number[],
) => { readonly service: Counters; readonly destinations: readonly Counters[] } {
  const countsOfSlot = countsOf(maps, slots);
  return (service, destinations) => {
    const sums = names.map(() => 0n);
    const shown = destinations.map((slot) => {
      const counted = countsOfSlot(slot);
      names.forEach((_, i) => {
        sums[i]! += counted[i]!;
      });
      return above(maps.destinationBaselines, slot, counted);
    });
    return { service: above(maps.serviceBaselines, service, sums), destinations: shown };
  };
}

function above(baselines: Records<'counters'>, slot: number, counted: Sums): Counters {
  return countersOf(names.map((name, i) => BigInt.asUintN(64, counted[i]! - baselines.getBig(slot, name))));
}

/** Rates a second to show: of each destination slot, and of the service as their sum. */
export function readRates(
  { destinationEstimates }: CounterMaps,
  destinations: readonly number[],
): { readonly service: Rates; readonly destinations: readonly Rates[] } {
  const estimates = destinations.map((slot) => {
    const estimate = names.map((name) => destinationEstimates.getBig(slot, name));
    return estimate.some((value) => value !== 0n) ? estimate : idle;
  });
  const busy = estimates.filter((estimate) => estimate !== idle);
  const sums = names.map((_, i) => busy.reduce((sum, estimate) => sum + estimate[i]!, 0n));
  return {
    service: rounded(sums),
    destinations: estimates.map((estimate) => (estimate === idle ? noCounters : rounded(estimate))),
  };
}

/** Nothing a second, which most real servers of a large site have. */
const idle: Sums = names.map(() => 0n);

/** ip_vs_read_estimator: connections and packets in units of 1/1024 a second, bytes in units of 1/32. */
function rounded(estimate: Sums): Rates {
  return countersOf(
    names.map((name, i) =>
      name.startsWith('bytes') ? (estimate[i]! + 0xfn) >> 5n : (estimate[i]! + 0x1ffn) >> 10n,
    ),
  );
}

function countersOf(values: Sums): Counters {
  const [connections = 0n, packetsIn = 0n, packetsOut = 0n, bytesIn = 0n, bytesOut = 0n] = values;
  return { connections, packetsIn, packetsOut, bytesIn, bytesOut };
}
