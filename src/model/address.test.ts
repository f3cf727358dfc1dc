import { isIP } from 'node:net';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import {
  type Address,
  addressFromBytes,
  addressToBytes,
  compareAddresses,
  familyOf,
  foldAddress,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnicast,
  parseAddress,
  parseAddressLoose,
} from './address.ts';

const address = (text: string): Address => {
  const parsed = parseAddress(text);
  if (!parsed) throw new Error(`Cannot parse the test address "${text}"`);
  return parsed;
};

/** IPv6 bytes with many zeros, so that compression and dotted tails are met often. */
const bytes6 = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 });

/** Text that is an address, almost an address, or noise from an address's alphabet. */
const addressLike = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.ipV4Extended(),
  fc.string({
    unit: fc.constantFrom('0', '1', '9', 'a', 'F', 'g', ':', '::', '.', '25', '256', ' '),
    maxLength: 18,
  }),
);

describe('parseAddress', () => {
  it('accepts exactly what node:net (inet_pton) accepts, zones aside', () => {
    fc.assert(
      fc.property(addressLike, (text) => {
        const parsed = parseAddress(text);
        expect(parsed === undefined ? 0 : familyOf(parsed)).toBe(isIP(text));
      }),
      { numRuns: 5000 },
    );
  });

  it('gives the bytes that ipaddr.js gives', () => {
    // ipaddr.js reads ::1.2.3.4 as ::ffff:1.2.3.4; RFC 4291, 2.2 does not.
    const text = fc.oneof(fc.ipV4(), fc.ipV6()).filter((t) => !/^::\d+\./.test(t));
    fc.assert(
      fc.property(text, (text) => {
        expect([...addressToBytes(address(text))]).toEqual(ipaddr.parse(text).toByteArray());
      }),
      { numRuns: 1000 },
    );
  });

  it('prints RFC 5952 as ipaddr.js does outside the dotted ranges', () => {
    fc.assert(
      fc.property(
        bytes6.filter((bytes) => bytes.subarray(0, 10).some((byte) => byte !== 0)),
        (bytes) => {
          expect(addressFromBytes(bytes)).toBe(ipaddr.fromByteArray([...bytes]).toString());
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('round-trips bytes and is idempotent on text', () => {
    fc.assert(
      fc.property(fc.oneof(bytes4, bytes6), (bytes) => {
        const text = addressFromBytes(bytes);
        expect(addressToBytes(text)).toEqual(bytes);
        expect(parseAddress(text)).toBe(text);
      }),
    );
  });

  // Right column: inet_ntop(inet_pton(left)) of glibc 2.36.
  it.each([
    ['::FFFF:10.0.0.1', '::ffff:10.0.0.1'],
    ['::ffff:a00:1', '::ffff:10.0.0.1'],
    ['::10.0.0.1', '::10.0.0.1'],
    ['::1:2', '::0.1.0.2'],
    ['::1', '::1'],
    ['::', '::'],
    ['2001:db8:0:1:0:0:0:1', '2001:db8:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['0::ffff:0:1.2.3.4', '::ffff:0:102:304'],
  ])('prints %s as %s', (text, canonical) => {
    expect(parseAddress(text)).toBe(canonical);
  });

  it.each([
    '',
    '10.1',
    '010.0.0.1',
    '10.0.0.1/24',
    '1:2:3:4:5:6:7::8:9',
    '1::2::3',
    ':1',
    '1:',
    '1:2:3:4:5:6:7:8::',
    'fe80::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
  ])('refuses "%s"', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('parseAddressLoose', () => {
  // Right column: inet_ntoa(inet_aton(left)) of glibc 2.36.
  it.each([
    ['10.1', '10.0.0.1'],
    ['10.1.2', '10.1.0.2'],
    ['10.1.65535', '10.1.255.255'],
    ['0x0a000001', '10.0.0.1'],
    ['010.0.0.010', '8.0.0.8'],
    ['0', '0.0.0.0'],
    ['4294967295', '255.255.255.255'],
    ['127.0xffffff', '127.255.255.255'],
    ['fe80::1', 'fe80::1'],
  ])('reads %s as %s', (text, canonical) => {
    expect(parseAddressLoose(text)).toBe(canonical);
  });

  it.each(['', '4294967296', '10.1.65536', '256.1', '1.2.3.4.5', '08', '0x', '1..2', 'a', '-1', '1.'])(
    'refuses "%s"',
    (text) => {
      expect(parseAddressLoose(text)).toBeUndefined();
    },
  );
});

describe('order', () => {
  it('is numeric with IPv4 first, and equal only for the same address', () => {
    const any = fc.oneof(bytes4, bytes6);
    const value = (bytes: Uint8Array) =>
      BigInt(`0x1${'0'.repeat(bytes.length)}${Buffer.from(bytes).toString('hex')}`);
    fc.assert(
      fc.property(any, any, (a, b) => {
        const wanted =
          a.length !== b.length
            ? a.length - b.length
            : value(a) < value(b)
              ? -1
              : value(a) > value(b)
                ? 1
                : 0;
        expect(Math.sign(compareAddresses(addressFromBytes(a), addressFromBytes(b)))).toBe(Math.sign(wanted));
      }),
    );
  });
});

describe('classes of addresses', () => {
  it('agrees with ipaddr.js ranges', () => {
    fc.assert(
      fc.property(fc.oneof(bytes4, bytes6), (bytes) => {
        const range = ipaddr.fromByteArray([...bytes]).range();
        const text = addressFromBytes(bytes);
        expect(isMulticast(text)).toBe(range === 'multicast');
        expect(isLoopback(text)).toBe(range === 'loopback');
        expect(isLinkLocal(text)).toBe(range === 'linkLocal');
      }),
      { numRuns: 2000 },
    );
  });

  // inet_addr_type (net/ipv4/fib_frontend.c) and __ipv6_addr_type (net/ipv6/addrconf_core.c) of Linux 6.12.
  it.each([
    ['10.0.0.1', true],
    ['0.0.0.1', true],
    ['240.0.0.1', true],
    ['127.0.0.1', true],
    ['0.0.0.0', false],
    ['224.0.0.18', false],
    ['255.255.255.255', false],
    ['2001:db8::1', true],
    ['fe80::1', true],
    ['::1', true],
    ['::10.0.0.1', true],
    ['::ffff:0:10.0.0.1', true],
    ['::', false],
    ['ff02::1', false],
    ['::ffff:10.0.0.1', false],
  ])('isUnicast(%s) is %s', (text, unicast) => {
    expect(isUnicast(address(text))).toBe(unicast);
  });
});

describe('foldAddress', () => {
  it('is the address itself for IPv4 and the XOR of four words for IPv6', () => {
    expect(foldAddress(address('192.0.2.1'))).toBe(0xc0000201);
    expect(foldAddress(address('2001:db8:1234:5678:9abc:def0::1'))).toBe(
      (0x20010db8 ^ 0x12345678 ^ 0x9abcdef0 ^ 0x00000001) >>> 0,
    );
  });
});
