import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { expect, test } from 'vitest';
import { maskOf } from '../../model/address.ts';
import { parseEndpoint, parseMask, parsePrefix, parseVirtualAddress } from './addresses.ts';

test.each([
  ['192.0.2.10:80', { address: '192.0.2.10', port: 80, protocol: 'tcp' }],
  ['192.0.2.10:53/udp', { address: '192.0.2.10', port: 53, protocol: 'udp' }],
  ['192.0.2.10:*', { address: '192.0.2.10', port: 0, protocol: 'tcp' }],
  ['[2001:DB8:0::10]:5060/sctp', { address: '2001:db8::10', port: 5060, protocol: 'sctp' }],
])('"%s" is where a virtual service is reached', (text, expected) => {
  expect(parseVirtualAddress(text)).toEqual(expected);
});

test.each([
  '192.0.2.10',
  '192.0.2.10:0',
  '192.0.2.10:080',
  '192.0.2.10:65536',
  '192.0.2.10:80/icmp',
  '192.0.2.10:http',
  '[192.0.2.10]:80',
  '2001:db8::10:80',
  '[2001:db8::10]',
  '[2001:db8::10%eth0]:80',
  'web:80',
  ':80',
  '',
])('"%s" is not', (text) => {
  expect(parseVirtualAddress(text)).toBeUndefined();
});

test.each([
  ['10.0.0.11', { address: '10.0.0.11' }],
  ['10.0.0.11:8080', { address: '10.0.0.11', port: 8080 }],
  ['2001:db8::11', { address: '2001:db8::11' }],
  ['[2001:db8::11]', { address: '2001:db8::11' }],
  ['[2001:db8::11]:8080', { address: '2001:db8::11', port: 8080 }],
  ['10.0.0.11:', undefined],
  ['10.0.0.11:*', undefined],
  ['10.0.0', undefined],
])('"%s" as the place of a real server', (text, expected) => {
  expect(parseEndpoint(text)).toEqual(expected);
});

test.each([
  ['192.0.2.10/24', { address: '192.0.2.10', length: 24 }],
  ['192.0.2.10', { address: '192.0.2.10', length: 32 }],
  ['2001:db8::1/64', { address: '2001:db8::1', length: 64 }],
  ['2001:db8::1', { address: '2001:db8::1', length: 128 }],
  ['192.0.2.10/33', undefined],
  ['192.0.2.10/024', undefined],
  ['192.0.2.10/', undefined],
  ['192.0.2.10/24/1', undefined],
])('"%s" as an address with its prefix', (text, expected) => {
  expect(parsePrefix(text)).toEqual(expected);
});

test('netmasks are those another program knows', () => {
  for (let length = 1; length <= 32; length++) {
    const mask = ipaddr.IPv4.subnetMaskFromPrefixLength(length);
    expect(parseMask(mask.toString())).toBe(length);
    expect(maskOf(length)).toBe(Buffer.from(mask.toByteArray()).readUInt32BE());
  }
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      expect(parseMask(text)).toBe(ipaddr.IPv4.parse(text).prefixLengthFromSubnetMask() || undefined);
    }),
  );
});
