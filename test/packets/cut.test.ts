import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/model/virtual-service.ts';
import { withNetns } from '../../src/sys/netns.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { reportMark } from './agreement.ts';
import { encode, filler, fragments, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { additions, destination, type ServicePlan, servicePlan } from './services.ts';
import { type DeviceName, smallMtu } from './world.ts';

/*
 * IPv4 packets that may be fragmented and do not fit (RFC 791, 2.3): every turn through the internal veth sends a piece
 * on its way. What is cut is what came in, so that a tunnel carries whole packets.
 */

const vip = '198.51.100.10';
const tunnelTo = (place: string): Destination => ({
  ...destination(place, 'tunnel'),
  tunnel: { type: 'ipip', port: 0, checksum: 'none' },
});
const onePacket = ({ service, destinations }: ServicePlan): ServicePlan => ({
  service: { ...service, onePacket: true },
  destinations,
});
const plans = [
  servicePlan(`udp ${vip}:100`, 'rr', tunnelTo('10.2.0.11:100')),
  servicePlan(`tcp ${vip}:100`, 'rr', tunnelTo('10.2.0.11:100')),
  servicePlan(`udp ${vip}:101`, 'rr', tunnelTo('[fd10::11]:101')),
  servicePlan('udp [2001:db8:100::10]:104', 'rr', tunnelTo('[fd10::11]:104')),
  servicePlan(`udp ${vip}:102`, 'rr', destination('10.2.0.12:102', 'direct-routing')),
  servicePlan(`udp ${vip}:103`, 'rr', destination('10.2.0.13:5353')),
  servicePlan(`tcp ${vip}:103`, 'rr', destination('10.2.0.13:8080')),
  onePacket(servicePlan(`udp ${vip}:105`, 'rr', destination('10.2.0.13:5353'))),
];
const longest = 1500;

requires(
  'root',
  'netns',
  'bpf',
)('packets that may be fragmented', () => {
  let harness: Harness;
  let port = 40_000;
  beforeAll(async () => {
    harness = await openHarness('cut');
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const from = () => `203.0.113.5:${++port}`;
  const toBeCut = reportMark({ kind: 'fragmentation', mtu: 0 });

  /** Sends a packet in that does not fit; the pieces that each turn sends on, without Ethernet headers. */
  function pieces(device: DeviceName, packet: Packet, room: number): Buffer[] {
    const frame = inbound(device, packet);
    const fragmented = harness.event('EVENT_FRAGMENTED');
    const outcome = harness.receive(device, packet);
    expect(outcome.verdict).toBe('redirect');
    expect(outcome.mark).toBe(toBeCut);
    expect(outcome.bytes.equals(frame)).toBe(true);
    expect(harness.event('EVENT_FRAGMENTED')).toBe(fragmented + 1);
    const payload = encode(packet).length - 20;
    const found: Buffer[] = [];
    for (let gone = 0; gone < payload; gone += room) {
      const turn = harness.run('headgate_report', frame, { mark: toBeCut + gone });
      expect(turn.verdict).toBe('redirect');
      expect(turn.mark).toBe(0);
      found.push(turn.bytes.subarray(14));
    }
    return found;
  }

  const hex = (packets: readonly (Buffer | Packet)[]) =>
    packets.map((one) => ('source' in one ? encode(one) : one).toString('hex'));

  /** Around each piece the outer header, of which the identification of IPv4 cannot be foretold. */
  function wrapped(inner: readonly Packet[], outer: 4 | 6, found: readonly Buffer[]): Packet[] {
    return inner.map((piece, i) => ({
      source: (outer === 4 ? '10.2.0.1' : 'fd10::1') as Packet['source'],
      destination: (outer === 4 ? '10.2.0.11' : 'fd10::11') as Packet['source'],
      ttl: 63,
      ...(outer === 4 && { id: found[i]!.readUInt16BE(4) }),
      body: { kind: 'raw', protocol: 4, payload: encode(piece) },
    }));
  }

  it.each([
    ['UDP, IPv4 outside', udp, 100, 4, smallMtu - 20],
    ['TCP, IPv4 outside', (a: string, b: string, s: object) => tcp(a, b, 'S', s), 100, 4, smallMtu - 20],
    ['UDP, IPv6 outside', udp, 101, 6, longest - 40],
  ] as const)('through a tunnel each piece is whole: %s', (_, make, to, outer, mtu) => {
    const settings = { payload: filler(longest - 28 - 12), id: 0x77 };
    const client = from();
    const found = pieces('c0', make(client, `${vip}:${to}`, settings), (mtu - 20) & ~7);
    const inner = fragments(make(client, `${vip}:${to}`, { ...settings, ttl: 63 }), mtu);
    expect(inner).toHaveLength(2);
    expect(hex(found)).toEqual(hex(wrapped(inner, outer, found)));
  });

  it.each([
    ['direct routing', 102, '', udp],
    ['masquerade, UDP', 103, '10.2.0.13:5353', udp],
    ['masquerade, UDP, one packet', 105, '10.2.0.13:5353', udp],
    ['masquerade, TCP', 103, '10.2.0.13:8080', (a: string, b: string, s: object) => tcp(a, b, 'S', s)],
  ] as const)('as the kernel would, after a rewrite: %s', (_, to, real, make) => {
    const settings = { payload: filler(longest - 40), id: 0x78, tos: 0xb8 };
    const client = from();
    const found = pieces('c0', make(client, `${vip}:${to}`, settings), (smallMtu - 20) & ~7);
    const out = make(client, real || `${vip}:${to}`, { ...settings, ttl: 63 });
    expect(hex(found)).toEqual(hex(fragments(out, smallMtu)));
  });

  it('a reply that is too long for the way to the client', () => {
    const client = from();
    harness.receive('c0', udp(client, `${vip}:103`));
    const settings = { payload: filler(2500), id: 0x79 };
    const found = pieces('m0', udp('10.2.0.13:5353', client, settings), longest - 20);
    expect(hex(found)).toEqual(hex(fragments(udp(`${vip}:103`, client, { ...settings, ttl: 63 }), longest)));
  });

  it('a fragment that does not fit is cut again, and keeps its place', () => {
    const client = from();
    const settings = { payload: filler(3000), id: 0x7a };
    const came = fragments(udp(client, `${vip}:100`, settings), longest);
    expect(came.map((piece) => piece.fragment)).toEqual([
      { offset: 0, more: true },
      { offset: 1480, more: true },
      { offset: 2960, more: false },
    ]);
    const mtu = smallMtu - 20;
    const room = (mtu - 20) & ~7;
    for (const piece of came.slice(0, 2)) {
      const found = pieces('c0', piece, room);
      const inner = fragments({ ...piece, ttl: 63 }, mtu).map(
        (part): Packet => ({
          ...part,
          fragment: { offset: piece.fragment!.offset + part.fragment!.offset, more: true },
        }),
      );
      expect(hex(found)).toEqual(hex(wrapped(inner, 4, found)));
    }
    expect(harness.receive('c0', came[2]!).verdict).toBe('redirect');
  });

  it('counts a packet once', async () => {
    const client = from();
    const counted = async () => {
      const { services } = await harness.read();
      const { counters } = services.find(({ service: { id } }) => id.kind === 'address' && id.port === 102)!;
      return { packets: Number(counters.packetsIn), bytes: Number(counters.bytesIn) };
    };
    const before = await counted();
    pieces('c0', udp(client, `${vip}:102`, { payload: filler(longest - 28) }), (smallMtu - 20) & ~7);
    expect(await counted()).toEqual({ packets: before.packets + 1, bytes: before.bytes + longest });
  });

  it('are dropped and counted with IPv4 options', () => {
    const before = harness.event('EVENT_TOO_BIG');
    const packet = udp(from(), `${vip}:100`, { payload: filler(1400), options: Buffer.alloc(4, 1) });
    expect(harness.receive('c0', packet).verdict).toBe('drop');
    expect(harness.event('EVENT_TOO_BIG')).toBe(before + 1);
  });

  describe('with sysctl pmtu_disc 0', () => {
    const discover = (value: number) => harness.apply({ kind: 'set-sysctls', sysctls: { pmtu_disc: value } });
    beforeAll(() => discover(0));
    afterAll(() => discover(1));

    it('a packet that fits: whole inside, outside without "do not fragment"', () => {
      const sent = udp(from(), `${vip}:100`, { doNotFragment: true });
      const found = harness.receive('c0', sent).bytes.subarray(14);
      expect(hex([found])).toEqual(hex(wrapped([{ ...sent, ttl: 63 }], 4, [found])));
      const again = harness.receive('c0', sent).bytes.subarray(14);
      expect(again.readUInt16BE(4)).not.toBe(found.readUInt16BE(4));
    });

    it('one that does not fit is fragmented, whatever it says, with an identification of its own', () => {
      const wire = withNetns(harness.world.outside, () => openFrameSocket(harness.world.farIndex.m0));
      try {
        const sent = udp(from(), `${vip}:100`, { payload: filler(1400), id: 0, doNotFragment: true });
        const outcome = harness.receive('c0', sent);
        expect(outcome.mark).toBe(toBeCut);
        const first = harness
          .run('headgate_report', inbound('c0', sent), { mark: toBeCut })
          .bytes.subarray(14);
        // The first piece is only judged, the rest is really sent.
        const rest = wire.receive(1000)!.bytes.subarray(14);
        const id = first.readUInt16BE(20 + 4);
        const inner = fragments({ ...sent, ttl: 63, doNotFragment: false, id }, smallMtu - 20);
        expect(hex([first, rest])).toEqual(hex(wrapped(inner, 4, [first, rest])));
        expect(id).not.toBe(0);
      } finally {
        wire.close();
      }
    });

    it('IPv6 senders are told all the same, and those of other methods', () => {
      const six = udp('[2001:db8:c::5]:1', '[2001:db8:100::10]:104', { payload: filler(1460) });
      expect(harness.receive('c0', six).mark).toBe(reportMark({ kind: 'too-big', mtu: 1460 }));
      const direct = udp(from(), `${vip}:102`, { payload: filler(1400), doNotFragment: true });
      expect(harness.receive('c0', direct).mark).toBe(reportMark({ kind: 'too-big', mtu: smallMtu }));
    });
  });

  it('a turn that was not ordered goes nowhere', () => {
    const strange = inbound('c0', udp(from(), '198.51.100.99:7', { payload: filler(100) }));
    expect(harness.run('headgate_report', strange, { mark: toBeCut }).verdict).toBe('drop');
    const short = inbound('c0', udp(from(), `${vip}:100`, { payload: filler(100) }));
    expect(harness.run('headgate_report', short, { mark: toBeCut + 128 }).verdict).toBe('drop');
  });
});
