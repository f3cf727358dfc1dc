import type { SyncedConnection } from '../../model/connection-sync.ts';
import type { MapHandle } from '../../sys/bpf/map.ts';
import { swapPort } from './encoding.ts';
import { numbers } from './layout.generated.ts';

const { LOCAL_PORT, LOCAL_ADDRESS_SHIFT, LOCAL_ADDRESS_MASK } = numbers.local_word;

type LocalEnd = NonNullable<SyncedConnection['local']>;

/** Local ends of connections with full NAT, as the program writes them (enum local_word) and as directors tell of them. */
export type LocalEnds = {
  /** Undefined: the word has none. */
  endIn(word: number, family: 4 | 6): LocalEnd | undefined;
  /** 0: no real server here is reached from that address. */
  wordOf(local: LocalEnd): number;
};

/** What stands in a place of the map stays, so each is read once. IPv4 addresses are the last four bytes of 16. */
export function openLocalEnds(addresses: MapHandle): LocalEnds {
  const read = new Map<number, Buffer>();

  function inPlace(place: number): Buffer | undefined {
    const known = read.get(place);
    if (known) return known;
    const found = addresses.lookup(place);
    if (!found?.some((byte) => byte !== 0)) return undefined;
    read.set(place, Buffer.from(found));
    return found;
  }

  return {
    endIn(word, family) {
      const bytes = inPlace((word >>> LOCAL_ADDRESS_SHIFT) & LOCAL_ADDRESS_MASK);
      const address = bytes && Uint8Array.from(family === 6 ? bytes : bytes.subarray(12));
      return address && { address, port: swapPort(word & LOCAL_PORT) };
    },
    wordOf({ address, port }) {
      const wanted = Buffer.alloc(16);
      wanted.set(address, 16 - address.length);
      for (let place = 1; place < addresses.maxEntries; place++) {
        const bytes = inPlace(place);
        if (!bytes) return 0;
        if (bytes.equals(wanted)) return (place << LOCAL_ADDRESS_SHIFT) | swapPort(port);
      }
      return 0;
    },
  };
}
