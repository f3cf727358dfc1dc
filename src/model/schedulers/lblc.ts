import { destinationKey } from '../service-id.ts';
import { leastPerWeight, overhead } from './load.ts';
import {
  createLocalityTable,
  expireLocality,
  findLocality,
  isCrowded,
  type LocalityTable,
  rememberLocality,
} from './locality.ts';
import type { Scheduler } from './scheduler.ts';

export type LocalityEntry = { readonly key: string; lastUsedMs: number };

/**
 * Locality-based least connections (ip_vs_lblc.c), for clusters of caches: an address stays with the destination it
 * was given by wlc, as long as that is in the service, has weight and is not crowded. The threshold overload of a
 * remembered destination is not looked at, and a deleted one is remembered for the case that it comes back.
 */
export const localityLeastConnections: Scheduler<LocalityTable<LocalityEntry>> = {
  create: () => createLocalityTable(),
  changed: (table) => table,
  choose: (table, destinations, { packet, nowMs }) => {
    const address = packet.destination;
    const entry = findLocality(table, address);
    if (entry) {
      entry.lastUsedMs = nowMs;
      const index = destinations.findIndex((destination) => destinationKey(destination) === entry.key);
      const remembered = destinations[index];
      if (remembered?.available && remembered.weight > 0 && !isCrowded(remembered, destinations)) {
        return { choice: index, state: table };
      }
    }
    const choice = leastPerWeight(destinations, overhead);
    if (choice !== undefined) {
      const key = destinationKey(destinations[choice]!);
      if (key !== entry?.key) rememberLocality(table, address, { key, lastUsedMs: nowMs });
    }
    return { choice, state: table };
  },
  tick: (table, nowMs) => {
    expireLocality(table, nowMs);
    return table;
  },
};
