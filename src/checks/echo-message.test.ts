import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeEcho, encodeEcho } from './echo-message.ts';

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex');

test('a request has the layout and the checksum of RFC 792', () => {
  // Header words 0800 1234 0001, data 0102 03(00): their sum is 1e37, its complement e1c8 (RFC 1071, by hand).
  expect(encodeEcho(4, { id: 0x1234, sequence: 1 }, Uint8Array.of(1, 2, 3)).toString('hex')).toBe(
    '0800e1c812340001010203',
  );
  // The checksum of ICMPv6 takes addresses and is the kernel's.
  expect(encodeEcho(6, { id: 0x1234, sequence: 1 }, Uint8Array.of()).toString('hex')).toBe(
    '8000000012340001',
  );
});

const ipHeader = '45000000 00000000 40010000 c0000201 c0000202';

test('a reply is read behind an IP header of any length', () => {
  const reply = { kind: 'reply', id: 0x1234, sequence: 7, data: Buffer.from('hi') };
  expect(decodeEcho(4, hex(`${ipHeader} 00000000 12340007 6869`))).toEqual(reply);
  expect(decodeEcho(4, hex(`46${ipHeader.slice(2)} 01010101 00000000 12340007 6869`))).toEqual(reply);
  expect(decodeEcho(6, hex('81000000 12340007 6869'))).toEqual(reply);
});

test('an error is read as one about the request it carries', () => {
  const request = (type: string) => `${type}000000 12340007`;
  expect(decodeEcho(4, hex(`${ipHeader} 03010000 00000000 ${ipHeader} ${request('08')}`))).toEqual({
    kind: 'error',
    id: 0x1234,
    sequence: 7,
    destination: hex('c0000202'),
    words: 'host is unreachable',
  });
  const ipv6 = `60000000 00083a40 ${'20010db8'.padEnd(32, '0')} ${'20010db8'.padEnd(31, '0')}2`;
  expect(decodeEcho(6, hex(`01050000 00000000 ${ipv6} ${request('80')}`))).toMatchObject({
    sequence: 7,
    words: 'ICMP error 1/5',
  });
  // About a UDP datagram, not about a request.
  const udp = ipHeader.replace('40010000', '40110000');
  expect(decodeEcho(4, hex(`${ipHeader} 03010000 00000000 ${udp} ${request('08')}`))).toBeUndefined();
});

test('whatever comes is read or passed over', () => {
  const families = fc.constantFrom(4 as const, 6 as const);
  const heads = fc.constantFrom(
    '',
    ipHeader,
    `${ipHeader} 0301000000000000 ${ipHeader}`,
    '4f',
    '0100000000000000',
  );
  fc.assert(
    fc.property(families, heads, fc.uint8Array({ maxLength: 80 }), (family, head, tail) => {
      const message = decodeEcho(family, Buffer.concat([hex(head), tail]));
      expect(message === undefined || message.id <= 0xffff).toBe(true);
    }),
    { numRuns: 2000 },
  );
});
