import { foldAddress } from '../address.ts';
import { hash32, hashTableBits, hashTableSize } from './hash.ts';
import { isEligible, type Scheduler } from './scheduler.ts';

/** 256 buckets, each the index of a destination: the list over and over, weights ignored; -1 when it is empty. */
export function dhTable(destinations: readonly unknown[]): number[] {
  return Array.from({ length: hashTableSize }, (_, bucket) =>
    destinations.length === 0 ? -1 : bucket % destinations.length,
  );
}

/** Destination hashing (ip_vs_dh.c): the bucket of the destination address, or nobody if that one may not serve. */
export const destinationHashing: Scheduler<readonly number[]> = {
  create: dhTable,
  changed: (_, destinations) => dhTable(destinations),
  choose: (table, destinations, { packet }) => {
    const choice = table[hash32(foldAddress(packet.destination), hashTableBits)]!;
    const destination = destinations[choice];
    const serves = destination?.available && isEligible(destination);
    return { choice: serves ? choice : undefined, state: table };
  },
};
