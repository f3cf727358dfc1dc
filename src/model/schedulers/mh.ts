import { type Address, addressToBytes, type Family, familyOf, foldAddress } from '../address.ts';
import { type DestinationView, isEligible, type Scheduler } from './scheduler.ts';
import { clientOf } from './sh.ts';
import { hsiphash } from './siphash.ts';
import { greatestCommonDivisor } from './wrr.ts';

/** Table sizes the kernel offers, for the table indexes of `mhTableIndexes`. */
const primes = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071];

/** Least and greatest table index, and the one that is usual (CONFIG_IP_VS_MH_TAB_INDEX). */
export const mhTableIndexes = { least: 8, most: 17, usual: 12 };

/** Buckets of the table with an index from 8 to 17: 251 to 131071. The usual one has 4093. */
export const mhTableSize = (tableIndex: number = mhTableIndexes.usual): number =>
  primes[tableIndex - mhTableIndexes.least]!;

const offsetKey = [2654435761n, 2654435761n] as const;
const skipKey = [2654446892n, 2654446892n] as const;

/** What mhTable needs of a destination. */
export type MaglevDestination = Pick<DestinationView, 'address' | 'port' | 'lastWeight'>;

/** The kernel's ip_vs_mh_hashkey: hsiphash of the sum in host order (little-endian), as 32 bits. */
function mhHash(fold: number, port: number, offset = 0, key: readonly [bigint, bigint] = offsetKey): number {
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, (offset + port + fold) >>> 0, true);
  return hsiphash(word, key);
}

/**
 * The Maglev lookup table (ip_vs_mh.c; Eisenbud et al., NSDI 2016, 3.4): each bucket is the index of a destination, -1
 * while all last weights are 0. Ownership follows `lastWeight`, so a destination set to weight 0 keeps its buckets.
 * Destinations behind the first `size` get none (the kernel goes on with its old table then).
 */
export function mhTable(
  destinations: readonly MaglevDestination[],
  family: Family,
  tableIndex: number = mhTableIndexes.usual,
): number[] {
  const size = mhTableSize(tableIndex);
  const table = new Array<number>(size).fill(-1);
  const turns = mhTurns(destinations, tableIndex);
  if (turns.every((turn) => turn === 0)) return table;

  const places = destinations.map((destination) => {
    const fold = foldForFamily(destination.address, family);
    return {
      next: mhHash(fold, destination.port) % size,
      skip: (mhHash(fold, destination.port, 0, skipKey) % (size - 1)) + 1,
    };
  });
  let filled = 0;
  for (;;) {
    for (const [index, place] of places.entries()) {
      for (let turn = 0; turn < turns[index]!; turn++) {
        while (table[place.next] !== -1) place.next = (place.next + place.skip) % size;
        table[place.next] = index;
        if (++filled === size) return table;
      }
    }
  }
}

/** How many buckets each destination claims a turn: its weight in units of the common divisor, big ones shifted down. */
function mhTurns(destinations: readonly MaglevDestination[], tableIndex: number): number[] {
  const weights = destinations.map(({ lastWeight }) => lastWeight);
  const divisor = weights.filter((weight) => weight > 0).reduce(greatestCommonDivisor, 0);
  if (divisor === 0) return weights.map(() => 0);
  const bitLength = 32 - Math.clz32(Math.floor(Math.max(...weights) / divisor));
  const shift = Math.max(0, bitLength - Math.floor(tableIndex / 2));
  return weights.map((weight) => Math.floor(weight / divisor) >> shift || Number(weight !== 0));
}

/** An address as a service of the given family sees it: an IPv4 service takes the first word of an IPv6 address. */
function foldForFamily(address: Address, family: Family): number {
  if (family === 6 || familyOf(address) === 4) return foldAddress(address);
  const bytes = addressToBytes(address);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

export type MaglevState = { readonly family: Family; readonly table: readonly number[] };

/**
 * Maglev hashing (ip_vs_mh.c): the bucket of the client's address, with flag 2 (mh-port) of address + port. If the
 * destination there may not serve: nobody, or with flag 1 (mh-fallback) the first that may among the hashes with
 * offsets from the first hash on. `tableIndex` is that of mhTableSize.
 */
export const maglevHashing = (tableIndex?: number): Scheduler<MaglevState> => ({
  create: (destinations, family) => ({ family, table: mhTable(destinations, family, tableIndex) }),
  changed: ({ family }, destinations) => ({ family, table: mhTable(destinations, family, tableIndex) }),
  choose: (state, destinations, { packet, flags }) => {
    const { table } = state;
    const { fold, port } = clientOf(packet, flags.flag2);
    const ownerAt = (offset: number) => table[mhHash(fold, port, offset) % table.length]!;
    const serves = (owner: number) => owner !== -1 && isEligible(destinations[owner]!);
    const first = ownerAt(0);
    if (serves(first)) return { choice: first, state };
    const hash = mhHash(fold, port) % table.length;
    for (let offset = 0; flags.flag1 && first !== -1 && offset < table.length; offset++) {
      const owner = ownerAt((offset + hash) % table.length);
      if (serves(owner)) return { choice: owner, state };
    }
    return { choice: undefined, state };
  },
});
