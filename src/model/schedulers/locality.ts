import { type Address, foldAddress } from '../address.ts';
import { hash32 } from './hash.ts';
import type { DestinationView } from './scheduler.ts';

const bucketBits = 10;
const bucketCount = 1 << bucketBits;

/** Limits of ip_vs_lblc.c and ip_vs_lblcr.c. */
export const localityLimits = {
  /** Above this many entries the minutely tick removes entries that were idle for idleMs. */
  softEntries: bucketCount * 16,
  /** At this many entries no new address is remembered. */
  hardEntries: (bucketCount * 16 * 3) / 2,
  idleMs: 6 * 60_000,
  /** Default of lblc_expiration and lblcr_expiration: entries idle this long go, whatever their number. */
  expirationMs: 24 * 60 * 60_000,
  ticksUntilFullCheck: 30,
} as const;

/** The memory of lblc and lblcr: destination addresses in hash buckets. It is changed in place. */
export type LocalityTable<Entry extends { lastUsedMs: number }> = {
  readonly buckets: Map<Address, Entry>[];
  entries: number;
  /** The bucket where the last partial check ended. */
  rover: number;
  /** Ticks since the last full check. */
  counter: number;
};

export function createLocalityTable<Entry extends { lastUsedMs: number }>(): LocalityTable<Entry> {
  return { buckets: Array.from({ length: bucketCount }, () => new Map()), entries: 0, rover: 0, counter: 1 };
}

export function findLocality<Entry extends { lastUsedMs: number }>(
  table: LocalityTable<Entry>,
  address: Address,
): Entry | undefined {
  return bucketOf(table, address).get(address);
}

/** Remembers an entry for an address; a table at its hard limit forgets it at once. */
export function rememberLocality<Entry extends { lastUsedMs: number }>(
  table: LocalityTable<Entry>,
  address: Address,
  entry: Entry,
): void {
  const bucket = bucketOf(table, address);
  if (bucket.delete(address)) table.entries--;
  if (table.entries >= localityLimits.hardEntries) return;
  bucket.set(address, entry);
  table.entries++;
}

/** The minutely check: every 30th removes what expired, the others shrink a table that is above its soft limit. */
export function expireLocality<Entry extends { lastUsedMs: number }>(
  table: LocalityTable<Entry>,
  nowMs: number,
): void {
  const { softEntries, idleMs, expirationMs, ticksUntilFullCheck } = localityLimits;
  if (table.counter % ticksUntilFullCheck === 0) {
    for (const bucket of table.buckets) removeIdle(table, bucket, nowMs - expirationMs);
    table.counter = 1;
    return;
  }
  if (table.entries <= softEntries) {
    table.counter++;
    return;
  }
  let goal = Math.min(Math.floor(((table.entries - softEntries) * 4) / 3), softEntries / 2);
  for (let i = 0; i < bucketCount && goal > 0; i++) {
    table.rover = (table.rover + 1) % bucketCount;
    goal -= removeIdle(table, table.buckets[table.rover]!, nowMs - idleMs);
  }
}

/**
 * Whether traffic should move away from a destination although it may serve: it has more active connections than its
 * weight, and some destination of the service has fewer than half of its own.
 */
export function isCrowded(destination: DestinationView, destinations: readonly DestinationView[]): boolean {
  return (
    destination.active > destination.weight && destinations.some(({ active, weight }) => active * 2 < weight)
  );
}

function bucketOf<Entry extends { lastUsedMs: number }>(
  table: LocalityTable<Entry>,
  address: Address,
): Map<Address, Entry> {
  return table.buckets[hash32(foldAddress(address), bucketBits)]!;
}

function removeIdle<Entry extends { lastUsedMs: number }>(
  table: LocalityTable<Entry>,
  bucket: Map<Address, Entry>,
  usedUntilMs: number,
): number {
  let removed = 0;
  for (const [address, { lastUsedMs }] of bucket) {
    if (lastUsedMs > usedUntilMs) continue;
    bucket.delete(address);
    removed++;
  }
  table.entries -= removed;
  return removed;
}
