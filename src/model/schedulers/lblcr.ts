import { destinationKey } from '../service-id.ts';
import { isDearer, leastPerWeight, overhead } from './load.ts';
import {
  createLocalityTable,
  expireLocality,
  findLocality,
  isCrowded,
  type LocalityTable,
  localityLimits,
  rememberLocality,
} from './locality.ts';
import { type DestinationView, isEligible, type Scheduler } from './scheduler.ts';

/** The destinations that hold an address, the latest one first. */
export type ReplicatedEntry = { keys: string[]; modifiedMs: number; lastUsedMs: number };

/**
 * Locality-based least connections with replication (ip_vs_lblcr.c): like lblc, but an address has a set of
 * destinations, of which the least loaded serves. A crowded set gets one more by wlc; a set of several that has not
 * changed for the expiration time loses its most loaded member. Members that left the service count for the size of
 * the set only.
 */
export const replicatedLeastConnections: Scheduler<LocalityTable<ReplicatedEntry>> = {
  create: () => createLocalityTable(),
  changed: (table) => table,
  choose: (table, destinations, { packet, nowMs }) => {
    const entry = findLocality(table, packet.destination);
    if (entry) {
      entry.lastUsedMs = nowMs;
      const member = leastLoadedMember(entry, destinations);
      if (entry.keys.length > 1 && nowMs > entry.modifiedMs + localityLimits.expirationMs) {
        const most = mostLoadedMember(entry, destinations);
        if (most !== undefined) {
          entry.keys = entry.keys.filter((key) => key !== destinationKey(destinations[most]!));
          entry.modifiedMs = nowMs;
        }
      }
      if (member !== undefined && !isCrowded(destinations[member]!, destinations)) {
        return { choice: member, state: table };
      }
    }
    const choice = leastPerWeight(destinations, overhead);
    if (choice === undefined) return { choice, state: table };
    const key = destinationKey(destinations[choice]!);
    if (!entry) {
      rememberLocality(table, packet.destination, { keys: [key], modifiedMs: nowMs, lastUsedMs: nowMs });
    } else if (!entry.keys.includes(key)) {
      entry.keys = [key, ...entry.keys];
      entry.modifiedMs = nowMs;
    }
    return { choice, state: table };
  },
  tick: (table, nowMs) => {
    expireLocality(table, nowMs);
    return table;
  },
};

function members({ keys }: ReplicatedEntry, destinations: readonly DestinationView[]): number[] {
  return keys
    .map((key) => destinations.findIndex((destination) => destinationKey(destination) === key))
    .filter((index) => index >= 0);
}

function leastLoadedMember(
  entry: ReplicatedEntry,
  destinations: readonly DestinationView[],
): number | undefined {
  const serving = members(entry, destinations).filter(
    (index) => destinations[index]!.available && isEligible(destinations[index]!),
  );
  const least = leastPerWeight(
    serving.map((index) => destinations[index]!),
    overhead,
  );
  return least === undefined ? undefined : serving[least];
}

/** Overloaded members included; of equal ones the first. */
function mostLoadedMember(
  entry: ReplicatedEntry,
  destinations: readonly DestinationView[],
): number | undefined {
  let most: number | undefined;
  for (const index of members(entry, destinations)) {
    const destination = destinations[index]!;
    if (destination.weight <= 0) continue;
    const top = most === undefined ? undefined : destinations[most]!;
    if (!top || isDearer(overhead(destination), destination.weight, overhead(top), top.weight)) most = index;
  }
  return most;
}
