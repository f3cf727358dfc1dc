import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { reportMark } from './agreement.ts';
import { encode, filler, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import type { Report } from './reference.ts';

const vip = '198.51.100.10';
const client = '203.0.113.5';
const vip6 = '2001:db8:100::10';
const client6 = '2001:db8:c::5';

/** Type and code by family: RFC 792; RFC 4443, 3. */
const kinds = [
  { report: { kind: 'port-unreachable', mtu: 0 }, ipv4: { type: 3, code: 3 }, ipv6: { type: 1, code: 4 } },
  { report: { kind: 'time-exceeded', mtu: 0 }, ipv4: { type: 11, code: 0 }, ipv6: { type: 3, code: 0 } },
  {
    report: { kind: 'too-big', mtu: 1400 },
    ipv4: { type: 3, code: 4, rest: 1400 },
    ipv6: { type: 2, code: 0, rest: 1400 },
  },
] as const satisfies readonly { report: Report; ipv4: object; ipv6: object }[];

/** 20 + 8 + 548 = 576 (RFC 1812, 4.3.2.3); 40 + 8 + 1232 = 1280 (RFC 4443, 2.4 c). */
const room = { ipv4: 548, ipv6: 1232 };

const sizes = [0, 1, 7, 63, 64, 65, 500];
const packets: Packet[] = [
  ...[...sizes, room.ipv4 - 41, room.ipv4 - 40, room.ipv4 - 39, 1400].map((length) =>
    tcp(`${client}:1001`, `${vip}:80`, 'S', { payload: filler(length) }),
  ),
  ...[...sizes, room.ipv6 - 49, room.ipv6 - 48, room.ipv6 - 47, 1400].map((length) =>
    udp(`[${client6}]:1001`, `[${vip6}]:53`, { payload: filler(length) }),
  ),
  udp(`${client}:1001`, `${vip}:53`, { options: filler(40).fill(1), doNotFragment: true }),
  ...[0x00, 0x02, 0x1e, 0xb8, 0xff].map((tos) => tcp(`${client}:1001`, `${vip}:80`, 'S', { tos })),
  ...[0x00, 0xb8].map((tos) => tcp(`[${client6}]:1001`, `[${vip6}]:80`, 'S', { tos })),
  // A client on the director's own network, and the director itself.
  tcp('192.0.2.254:1001', `${vip}:80`, 'S'),
];

/** The type of service of an error: precedence 6, delay to cost bits as they came (RFC 1812, 4.3.2.5; icmp_send). */
const errorTos = (tos: number): number => (tos & 0x1e) | 0xc0;

const cases = kinds.flatMap(({ report, ipv4, ipv6 }) =>
  packets.map((packet) => {
    const family = packet.source.includes(':') ? ('ipv6' as const) : ('ipv4' as const);
    const quoted = encode(packet).subarray(0, room[family]);
    const message = { ...(family === 'ipv4' ? ipv4 : ipv6), payload: quoted };
    const wanted = icmp(packet.destination, packet.source, message, {
      tos: family === 'ipv4' ? errorTos(packet.tos ?? 0) : 0,
      id: 0,
    });
    const length = encode(packet).length;
    return {
      name: `${report.kind}, ${family}, ${length} bytes, tos ${packet.tos ?? 0}`,
      report,
      packet,
      wanted,
    };
  }),
);

requires(
  'root',
  'netns',
  'bpf',
)('ICMP errors of our own', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('report');
  });
  afterAll(() => harness?.close());

  it.each(cases)('$name', ({ report, packet, wanted }) => {
    const frame = inbound('c0', packet);
    const outcome = harness.run('headgate_report', frame, {
      ifindex: harness.world.index.c0,
      mark: reportMark(report),
    });
    expect(outcome.verdict).toBe('redirect');
    expect(outcome.mark).toBe(0);
    expect(outcome.bytes.subarray(14).toString('hex')).toBe(encode(wanted).toString('hex'));
    expect(outcome.bytes.subarray(0, 14)).toEqual(frame.subarray(0, 14));
  });

  it('ignores the bytes behind the packet (Ethernet padding)', () => {
    const packet = tcp(`${client}:1001`, `${vip}:80`, 'S');
    const padded = Buffer.concat([inbound('c0', packet), Buffer.alloc(6, 0xaa)]);
    const outcome = harness.run('headgate_report', padded, { mark: reportMark(kinds[0].report) });
    const wanted = icmp(vip, client, { type: 3, code: 3, payload: encode(packet) }, { tos: 0xc0, id: 0 });
    expect(outcome.bytes.subarray(14).toString('hex')).toBe(encode(wanted).toString('hex'));
  });

  it('drops what it was not asked about', () => {
    const frame = inbound('c0', packets[0]!);
    expect(harness.run('headgate_report', frame, {}).verdict).toBe('drop');
    expect(harness.run('headgate_report', frame, { mark: 7 }).verdict).toBe('drop');
  });

  it('drops what is no IP packet', () => {
    const arp = inbound('c0', packets[0]!);
    arp.writeUInt16BE(0x0806, 12);
    expect(harness.run('headgate_report', arp, { mark: reportMark(kinds[0].report) }).verdict).toBe('drop');
  });

  it('has nowhere to send an error to without a route', () => {
    const packet = tcp('10.66.0.1:1001', `${vip}:80`, 'S');
    const outcome = harness.run('headgate_report', inbound('c0', packet), {
      mark: reportMark(kinds[0].report),
    });
    expect(outcome.verdict).toBe('drop');
  });
});
