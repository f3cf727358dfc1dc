import { type Address, addressFromBytes, addressToBytes } from './address.ts';

/** The address under a persistence netmask: IPv4 a 32-bit mask, IPv6 a prefix length. */
export function maskAddress(address: Address, netmask: number): Address {
  const bytes = addressToBytes(address);
  return addressFromBytes(
    bytes.map((byte, i) => {
      const mask =
        bytes.length === 4 ? netmask >>> (24 - 8 * i) : 0xff00 >> Math.min(8, Math.max(0, netmask - 8 * i));
      return byte & mask & 0xff;
    }),
  );
}
