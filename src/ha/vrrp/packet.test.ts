import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import { type Advertisement, decodeAdvertisement, encodeAdvertisement } from './packet.ts';

const at = (text: string) => text as Address;
const ends4 = { source: at('192.0.2.2'), destination: at('224.0.0.18') };
const ends6 = { source: at('fe80::2'), destination: at('ff02::12') };
const pdu = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

/* The bytes are written down field by field from RFC 3768, 5.1 and RFC 9568, 5.1, checksums summed by hand. */
const version2 = '21 33 96 01  00 01 3d b0  c0 00 02 0a  00 00 00 00 00 00 00 00';
const oneAddress: Advertisement = {
  version: 2,
  routerId: 0x33,
  priority: 150,
  intervalMs: 1000,
  addresses: [at('192.0.2.10')],
};

function sum(bytes: Buffer): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += bytes.readUInt16BE(i);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

test('version 2 is what RFC 3768 draws', () => {
  const bytes = encodeAdvertisement(oneAddress, ends4);
  const wanted = pdu(version2);
  wanted.writeUInt16BE(0, 6);
  wanted.writeUInt16BE(~sum(wanted) & 0xffff, 6);
  expect(bytes).toEqual(wanted);
});

test('a password is eight bytes behind the addresses', () => {
  const bytes = encodeAdvertisement(oneAddress, ends4, { type: 'password', secret: 'secret-too-long' });
  expect(bytes.subarray(12).toString()).toBe('secret-t');
  expect(bytes[4]).toBe(1);
  const read = decodeAdvertisement(bytes, ends4);
  expect(read).toMatchObject({ authentication: 'password', priority: 150 });
});

test('version 3 counts hundredths, and its checksum covers the pseudo-header', () => {
  const bytes = encodeAdvertisement(
    {
      version: 3,
      routerId: 51,
      priority: 100,
      intervalMs: 100,
      addresses: [at('fe80::10'), at('2001:db8::10')],
    },
    ends6,
  );
  expect(bytes.length).toBe(8 + 2 * 16);
  expect(bytes.subarray(0, 6)).toEqual(pdu('31 33 64 02 00 0a'));
  const pseudo = pdu(`fe80000000000000 0000000000000002 ff02000000000000 0000000000000012 00000028 00000070`);
  expect(sum(Buffer.concat([pseudo, bytes]))).toBe(0xffff);
});

test('version 3 over IPv4 is taken with and without the pseudo-header', () => {
  const advertisement = { ...oneAddress, version: 3 as const };
  const bytes = encodeAdvertisement(advertisement, ends4);
  expect(decodeAdvertisement(bytes, ends4)).toMatchObject(advertisement);
  bytes.writeUInt16BE(0, 6);
  bytes.writeUInt16BE(~sum(bytes) & 0xffff, 6);
  expect(decodeAdvertisement(bytes, ends4)).toMatchObject(advertisement);
  bytes[2]! ^= 1;
  expect(decodeAdvertisement(bytes, ends4)).toBe('checksum');
});

test.each([
  ['length', '', ends4],
  ['length', '21 33 96 02 00 01 00 00 c0 00 02 0a 00 00 00 00 00 00 00 00', ends4],
  ['version', '41 33 96 00 00 01 00 00', ends4],
  ['version', '21 33 96 00 00 01 00 00 00 00 00 00 00 00 00 00', ends6],
  ['type', '32 33 96 00 00 01 00 00', ends4],
  ['authentication-type', '21 33 96 00 03 01 00 00 00 00 00 00 00 00 00 00', ends4],
  ['checksum', '31 33 96 00 00 01 00 00', ends4],
] as const)('wrong %s: %s', (reason, hex, ends) => {
  expect(decodeAdvertisement(pdu(hex), ends)).toBe(reason);
});

test('any bytes are an advertisement or a reason, and what is encoded is read back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const read = decodeAdvertisement(Buffer.from(bytes), ends4);
      expect(typeof read === 'string' || read.addresses.length <= 255).toBe(true);
    }),
  );
  const advertisement = fc.record({
    version: fc.constantFrom(2 as const, 3 as const),
    routerId: fc.integer({ min: 1, max: 255 }),
    priority: fc.integer({ min: 0, max: 255 }),
    intervalMs: fc.integer({ min: 1, max: 40 }).map((seconds) => seconds * 1000),
    addresses: fc.array(fc.ipV4().map(at), { maxLength: 20 }),
  });
  fc.assert(
    fc.property(advertisement, (one) => {
      expect(decodeAdvertisement(encodeAdvertisement(one, ends4), ends4)).toMatchObject(one);
    }),
  );
});

test('what no field holds is not sent', () => {
  const broken = [
    { ...oneAddress, intervalMs: 1500 },
    { ...oneAddress, intervalMs: 256_000 },
    { ...oneAddress, version: 3 as const, intervalMs: 40_960 },
    { ...oneAddress, version: 3 as const, intervalMs: 15 },
    { ...oneAddress, addresses: [at('2001:db8::1')] },
  ];
  for (const one of broken) expect(() => encodeAdvertisement(one, ends4)).toThrow(RangeError);
});
