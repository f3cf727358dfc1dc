import { expect, it } from 'vitest';
import type { Address } from '../../model/address.ts';
import { ipPacket, multicastFrame, withChecksum } from './frame.ts';

const at = (text: string) => text as Address;
const mac = Buffer.from('00005e000133', 'hex');

it('a checksum is that of RFC 791', () => {
  // The header of a DNS answer as textbooks print it.
  const header = Buffer.from('450000730000400040110000c0a80001c0a800c7', 'hex');
  expect(withChecksum(header).toString('hex')).toBe('45000073000040004011b861c0a80001c0a800c7');
  const wrong = Buffer.from(header);
  wrong.writeUInt16BE(0xbeef, 10);
  expect(withChecksum(wrong).readUInt16BE(10)).toBe(0xb861);
});

it('an IPv4 packet has the hop limit 255 and the precedence of network control', () => {
  const packet = ipPacket(
    Buffer.from('0102', 'hex'),
    { source: at('192.0.2.1'), destination: at('224.0.0.18') },
    112,
  );
  expect(packet.toString('hex')).toMatch(/^45c00016....4000ff70....c0000201e00000120102$/);
});

it('an IPv6 packet has them as well', () => {
  const ends = { source: at('fe80::1'), destination: at('ff02::12') };
  expect(ipPacket(Buffer.from('0102', 'hex'), ends, 112).toString('hex')).toBe(
    '6c000000000270fffe800000000000000000000000000001ff0200000000000000000000000000120102',
  );
});

it('a frame goes to the MAC address of the group', () => {
  const packet = Buffer.from('45', 'hex');
  expect(multicastFrame(packet, mac, at('224.0.0.18')).toString('hex')).toBe(
    '01005e00001200005e000133080045',
  );
  // RFC 1112, 6.4: the low 23 bits.
  expect(multicastFrame(packet, mac, at('239.129.2.3')).toString('hex', 0, 6)).toBe('01005e010203');
  expect(multicastFrame(packet, mac, at('ff02::12')).toString('hex')).toBe('33330000001200005e00013386dd45');
});
