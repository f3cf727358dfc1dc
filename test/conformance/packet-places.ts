import { type Address, addressFromBytes } from '../../src/model/address.ts';
import { virtualAddresses } from '../packets/world.ts';
import type { Rig } from './rig.ts';

const realServers = 6;

/** Services, real servers and clients of rigs whose packets are made by hand, in the world of test/packets. */
export function openPlaces(): Pick<Rig, 'service' | 'realServer' | 'client'> {
  let port = 1000;
  return {
    service: async (family, protocol) => ({
      kind: 'address',
      protocol,
      address: virtualAddresses[family === 4 ? 'ipv4' : 'ipv6'] as Address,
      port: port++,
    }),
    async realServer(family) {
      const last = 11 + (port % realServers);
      return { address: (family === 4 ? `10.1.0.${last}` : `fd10::${last}`) as Address, port: port++ };
    },
    // IPv6: all four words differ, they are folded into the hash.
    client: (family, n) =>
      addressFromBytes(
        family === 4
          ? Uint8Array.of(203, 0, n >> 8, n & 255)
          : Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, n & 255, 7, 9, n >> 8, 0, 0, 0, 0, 0, n & 31, 7),
      ),
  };
}
