import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { expect, test } from 'vitest';
import { addressFromBytes } from './address.ts';
import { maskAddress } from './persistence.ts';

test('maskAddress() clears what the netmask does not cover', () => {
  const prefixes = fc
    .constantFrom(32, 128)
    .chain((bits) =>
      fc.tuple(
        fc.uint8Array({ minLength: bits / 8, maxLength: bits / 8 }),
        fc.integer({ min: 1, max: bits }),
      ),
    );
  fc.assert(
    fc.property(prefixes, ([bytes, prefix]) => {
      const six = bytes.length === 16;
      const mask = (six ? ipaddr.IPv6 : ipaddr.IPv4).subnetMaskFromPrefixLength(prefix).toByteArray();
      const wanted = addressFromBytes(bytes.map((byte, i) => byte & mask[i]!));
      const netmask = six ? prefix : Number(BigInt.asUintN(32, -1n << BigInt(32 - prefix)));
      expect(maskAddress(addressFromBytes(bytes), netmask)).toBe(wanted);
    }),
  );
});
