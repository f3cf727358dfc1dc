import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, test } from 'vitest';
import { addressFromBytes, parseAddress } from '../../model/address.ts';
import { encodeProxyHeader } from './proxy-protocol.ts';

const end = (text: string, port: number) => ({ address: parseAddress(text)!, port });

describe('encodeProxyHeader()', () => {
  // The longest lines of section 2.1 and its example, as they stand in the specification.
  test.each([
    ['192.168.0.1', '192.168.0.11', 56324, 443, 'PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n'],
    [
      '255.255.255.255',
      '255.255.255.255',
      65535,
      65535,
      'PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n',
    ],
    [
      'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
      'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
      65535,
      65535,
      'PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n',
    ],
  ])('version 1 from %s to %s', (from, to, fromPort, toPort, line) => {
    expect(Buffer.from(encodeProxyHeader('v1', end(from, fromPort), end(to, toPort))).toString()).toBe(line);
  });

  test('version 2 is the 16 bytes of proxy_hdr_v2 and the addresses behind them', () => {
    const header = encodeProxyHeader('v2', end('192.0.2.1', 0x1234), end('198.51.100.2', 80));
    expect(Buffer.from(header).toString('hex')).toBe(
      // signature, version 2 PROXY, AF_INET STREAM, 12 bytes: source, destination, ports
      ['0d0a0d0a000d0a515549540a', '21', '11', '000c', 'c0000201', 'c6336402', '1234', '0050'].join(''),
    );
    const six = Buffer.from(encodeProxyHeader('v2', end('2001:db8::1', 1), end('::1', 443)));
    expect(six.subarray(12).toString('hex')).toBe(
      ['21', '21', '0024', '20010db8000000000000000000000001', `${'0'.repeat(31)}1`, '0001', '01bb'].join(''),
    );
  });

  test('whatever the addresses, a reader finds them again', () => {
    const bytes = (length: number) =>
      fc.oneof(
        fc.uint8Array({ minLength: length, maxLength: length }),
        // Mostly zeros, as under ::/96, where the text form has a dotted tail.
        fc.uint8Array({ minLength: 4, maxLength: 4 }).map((tail) => {
          const all = new Uint8Array(length);
          all.set(tail, length - 4);
          return all;
        }),
      );
    const port = fc.nat(65535);
    fc.assert(
      fc.property(
        fc.constantFrom(4, 16).chain((length) => fc.tuple(bytes(length), bytes(length))),
        port,
        port,
        ([source, target], sourcePort, targetPort) => {
          const from = { address: addressFromBytes(source), port: sourcePort };
          const to = { address: addressFromBytes(target), port: targetPort };
          const text = Buffer.from(encodeProxyHeader('v1', from, to)).toString();
          // 107 characters are the most a reader must take (section 2.1).
          expect(text.length).toBeLessThanOrEqual(107);
          const words = /^PROXY TCP([46]) ([0-9a-f.:]+) ([0-9a-f.:]+) (\d+) (\d+)\r\n$/.exec(text)!;
          expect(words.slice(2, 4).map((word) => ipaddr.parse(word).toByteArray())).toEqual([
            [...source],
            [...target],
          ]);
          if (words[1] === '6') expect(text).not.toContain('.');
          expect(words.slice(4).map(Number)).toEqual([sourcePort, targetPort]);
          const binary = Buffer.from(encodeProxyHeader('v2', from, to));
          expect(binary.readUInt16BE(14)).toBe(binary.length - 16);
          expect([...binary.subarray(16, -4)]).toEqual([...source, ...target]);
          expect([binary.readUInt16BE(binary.length - 4), binary.readUInt16BE(binary.length - 2)]).toEqual([
            sourcePort,
            targetPort,
          ]);
        },
      ),
    );
  });
});
