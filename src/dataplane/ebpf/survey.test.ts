import { expect, test } from 'vitest';
import { arpProbe, readArpReply } from './claims.ts';
import { parseKernelServices } from './survey.ts';

/* As ip_vs_info_seq_show of net/netfilter/ipvs/ip_vs_ctl.c prints it. */
const listing = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C000020A:0050 rr persistent 360 FFFFFFFF
  -> 0A000001:0050      Masq    1      0          0
UDP  [2001:0db8:0000:0000:0000:0000:0000:0010]:0035 wlc
FWM  00000007 rr
`;

test('virtual services of the kernel are read from /proc/net/ip_vs', () => {
  expect(parseKernelServices(listing)).toEqual([
    { protocol: 'tcp', address: '192.0.2.10', port: 80 },
    { protocol: 'udp', address: '2001:db8::10', port: 53 },
    { protocol: 'fwm' },
  ]);
  expect(parseKernelServices(undefined)).toEqual([]);
});

test('an ARP probe is a broadcast request without a sender address (RFC 5227, 2.1.1)', () => {
  const probe = arpProbe(Buffer.from('020000000001', 'hex'), Buffer.from([192, 0, 2, 10]));
  expect(probe.toString('hex')).toBe(
    'ffffffffffff' +
      '020000000001' +
      '0806' +
      '0001080006040001' +
      '020000000001' +
      '00000000' +
      '000000000000' +
      'c000020a',
  );
  expect(readArpReply(probe)).toBeUndefined();
});

test('an ARP reply names the machine and the address it has (RFC 826)', () => {
  const reply = Buffer.from(
    '020000000001' +
      '020000000009' +
      '0806' +
      '0001080006040002' +
      '020000000009' +
      'c000020a' +
      '020000000001' +
      '00000000',
    'hex',
  );
  expect(readArpReply(reply)).toEqual({ mac: '02:00:00:00:00:09', address: Buffer.from([192, 0, 2, 10]) });
});
