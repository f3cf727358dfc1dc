import { foldAddress } from '../address.ts';
import { hash32, hashTableBits, hashTableSize } from './hash.ts';
import { type DestinationView, isEligible, type Packet, type Scheduler } from './scheduler.ts';

/**
 * 256 buckets, each the index of a destination: the list over and over, every destination taking as many buckets in a
 * row as its weight, but at least one, even with weight 0; -1 when the list is empty.
 */
export function shTable(destinations: readonly Pick<DestinationView, 'weight'>[]): number[] {
  const table: number[] = [];
  let index = 0;
  let taken = 0;
  while (table.length < hashTableSize) {
    const destination = destinations[index];
    table.push(destination ? index : -1);
    if (++taken >= (destination?.weight ?? 0)) {
      taken = 0;
      index = index + 1 < destinations.length ? index + 1 : 0;
    }
  }
  return table;
}

/** The client's side of a packet: its port counts only when the service asks for it. */
export function clientOf(packet: Packet, withPort: boolean): { fold: number; port: number } {
  const [address, port] = packet.inverse
    ? [packet.destination, packet.destinationPort]
    : [packet.source, packet.sourcePort];
  return { fold: foldAddress(address), port: withPort ? port : 0 };
}

/**
 * Source hashing (ip_vs_sh.c): the bucket of the client's address, with flag 2 (sh-port) of address + port. If the
 * destination there may not serve: nobody, or with flag 1 (sh-fallback) the first that may from twice the hash on.
 */
export const sourceHashing: Scheduler<readonly number[]> = {
  create: shTable,
  changed: (_, destinations) => shTable(destinations),
  choose: (table, destinations, { packet, flags }) => {
    const { fold, port } = clientOf(packet, flags.flag2);
    const hash = hash32((port + fold) | 0, hashTableBits);
    const serves = (bucket: number) => {
      const destination = destinations[table[bucket]!];
      return destination !== undefined && isEligible(destination);
    };
    const bucketAt = (offset: number) => (offset + hash) % hashTableSize;
    if (serves(hash)) return { choice: table[hash], state: table };
    for (let offset = 0; flags.flag1 && offset < hashTableSize; offset++) {
      const bucket = bucketAt(offset + hash);
      if (serves(bucket)) return { choice: table[bucket], state: table };
    }
    return { choice: undefined, state: table };
  },
};
