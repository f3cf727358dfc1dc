import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import { formatIp, formatMac, parseIp, parseMac, parsePrefix } from './ip.ts';

describe('addresses', () => {
  it.each([
    '0.0.0.0',
    '255.255.255.255',
    '192.0.2.1',
    '::',
    '::1',
    '2001:db8::1',
    'fe80::1:0:0:1',
    '::ffff:192.0.2.1',
    '1:2:3:4:5:6:7:8',
    '64:ff9b::192.0.2.33',
  ])('reads %s as ipaddr.js does', (address) => {
    expect([...parseIp(address).bytes]).toEqual(ipaddr.parse(address).toByteArray());
  });

  it('agrees with ipaddr.js on any bytes, both ways', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ minLength: 4, maxLength: 4 }),
          fc.uint8Array({ minLength: 16, maxLength: 16 }),
        ),
        (bytes) => {
          const text = formatIp(Buffer.from(bytes));
          expect(ipaddr.parse(text).toByteArray()).toEqual([...bytes]);
          expect([...parseIp(text).bytes]).toEqual([...bytes]);
        },
      ),
    );
  });

  it('writes IPv6 in the short form of RFC 5952', () => {
    expect(formatIp(parseIp('2001:0DB8:0:0:1:0:0:1').bytes)).toBe('2001:db8::1:0:0:1');
  });

  it.each(['', '1.2.3', '1.2.3.4.5', '256.0.0.1', 'fe80::1%eth0', '::1::', 'host'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseIp(text)).toThrow(`"${text}"`);
    },
  );
});

describe('prefixes', () => {
  it('takes the whole address where there is no length', () => {
    expect(parsePrefix('192.0.2.1').length).toBe(32);
    expect(parsePrefix('2001:db8::1').length).toBe(128);
    expect(parsePrefix('10.0.0.0/0').length).toBe(0);
  });

  it.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8/8', '::/129', '10.0.0.0/x'])(
    'refuses "%s"',
    (text) => {
      expect(() => parsePrefix(text)).toThrow(RangeError);
    },
  );
});

describe('MAC addresses', () => {
  it('reads and writes hex pairs', () => {
    expect(formatMac(parseMac('02:FC:00:00:0a:01'))).toBe('02:fc:00:00:0a:01');
  });

  it.each(['', '02:fc:00:00:0a', '02-fc-00-00-0a-01', '02:fc:00:00:0a:01:02', '2:fc:0:0:a:1'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseMac(text)).toThrow(RangeError);
    },
  );
});
