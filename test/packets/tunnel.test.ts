import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { encode, filler, type Packet, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { macs, smallMtu } from './world.ts';

/*
 * The tunnel method: RFC 2003 (IPv4 in IPv4), RFC 4213 (IPv6 in IPv4), RFC 2473 (in IPv6), with the choices of
 * ip_vs_tunnel_xmit: time to live of the inner packet, its "do not fragment", its DS field with RFC 3168's congestion marks.
 */

const protocolOf = { 4: 4, 6: 41 } as const;
const tunnelTo = (place: string): Destination => ({
  ...destination(place, 'tunnel'),
  tunnel: { type: 'ipip', port: 0, checksum: 'none' },
});

const vips = { 4: '198.51.100.10', 6: '[2001:db8:100::10]' } as const;
const clients = { 4: '203.0.113.5', 6: '[2001:db8:c::5]' } as const;
const reals = {
  4: { address: '10.1.0.11', far: '10.2.0.11', source: '10.1.0.1' },
  6: { address: 'fd10::11', far: 'fd20::11', source: 'fd10::1' },
} as const;
const bracketed = (address: string) => (address.includes(':') ? `[${address}]` : address);
const families = [4, 6] as const;
const pairs = families.flatMap((inner) => families.map((outer) => ({ inner, outer })));

/** One port a kind of way, so that services differ: near (MTU 1500), far (MTU 1280), nowhere. */
const portOf = (outer: 4 | 6, way: 'near' | 'far' | 'nowhere') =>
  ({ near: 100, far: 200, nowhere: 300 })[way] + outer;

requires(
  'root',
  'netns',
  'bpf',
)('tunnel', () => {
  let harness: Harness;
  let port = 30_000;
  beforeAll(async () => {
    harness = await openHarness('tunnel');
    const plans = families.flatMap((inner) =>
      families.flatMap((outer) => [
        servicePlan(
          `tcp ${vips[inner]}:${portOf(outer, 'near')}`,
          'rr',
          tunnelTo(`${bracketed(reals[outer].address)}:${portOf(outer, 'near')}`),
        ),
        servicePlan(
          `udp ${vips[inner]}:${portOf(outer, 'near')}`,
          'rr',
          tunnelTo(`${bracketed(reals[outer].address)}:${portOf(outer, 'near')}`),
        ),
        servicePlan(
          `udp ${vips[inner]}:${portOf(outer, 'far')}`,
          'rr',
          tunnelTo(`${bracketed(reals[outer].far)}:${portOf(outer, 'far')}`),
        ),
        servicePlan(
          `udp ${vips[inner]}:${portOf(outer, 'nowhere')}`,
          'rr',
          tunnelTo(outer === 4 ? '10.66.0.1:53' : '[fd66::1]:53'),
        ),
      ]),
    );
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const from = (inner: 4 | 6) => `${clients[inner]}:${++port}`;
  const to = (inner: 4 | 6, outer: 4 | 6, way: Parameters<typeof portOf>[1]) =>
    `${vips[inner]}:${portOf(outer, way)}`;
  const icmpReport = (kind: number, mtu: number) => 0x48000000 | (kind << 16) | mtu;
  const padded = (inner: 4 | 6, length: number) => ({ payload: filler(length - (inner === 4 ? 28 : 48)) });

  /** The outer packet; an identification nobody can foretell is taken from what was found. */
  function wrapped(sent: Packet, ttl: number, outer: 4 | 6, tos: number, found: Uint8Array): Buffer {
    const inner = sent.source.includes(':') ? 6 : 4;
    const payload = encode({ ...sent, ttl });
    // RFC 4213, 3.2.2: what IPv6 does not promise to get through is not fragmented outside.
    const whole = inner === 4 ? sent.doNotFragment === true : payload.length > 1280;
    return encode({
      source: reals[outer].source as Packet['source'],
      destination: reals[outer].address as Packet['source'],
      ttl,
      tos,
      ...(outer === 4 && { doNotFragment: whole, id: whole ? 0 : Buffer.from(found).readUInt16BE(14 + 4) }),
      body: { kind: 'raw', protocol: protocolOf[inner], payload },
    });
  }

  describe.each(pairs)('IPv$inner in IPv$outer', ({ inner, outer }) => {
    it.each([
      ['a SYN', 0, 0],
      ['expedited forwarding, ECT(1)', 0xb9, 0xb9],
      ['congestion experienced: the outer packet starts without', 0x2b, 0x2a],
    ])('%s', (_, tos, outerTos) => {
      const sent = tcp(from(inner), to(inner, outer, 'near'), 'S', {
        tos,
        ttl: 17,
        ...(inner === 4 && { doNotFragment: true }),
      });
      const outcome = harness.receive('c0', sent);
      expect(outcome.verdict).toBe('redirect');
      expect(outcome.bytes.subarray(14).toString('hex')).toBe(
        wrapped(sent, 16, outer, outerTos, outcome.bytes).toString('hex'),
      );
      const type = { 4: 0x0800, 6: 0x86dd }[outer];
      // Once the next hop is known, its addresses are written as well.
      const again = harness.receive('c0', sent).bytes;
      expect(again.readUInt16BE(12)).toBe(type);
      expect(again.subarray(6, 12).toString('hex')).toBe(macs.r0.own.replaceAll(':', ''));
    });

    it('a datagram that may be fragmented: an identification of its own', () => {
      const source = from(inner);
      const outcomes = [1, 2].map((n) => {
        const sent = udp(source, to(inner, outer, 'near'), { ttl: 9, payload: filler(n) });
        const outcome = harness.receive('c0', sent);
        expect(outcome.bytes.subarray(14).toString('hex')).toBe(
          wrapped(sent, 8, outer, 0, outcome.bytes).toString('hex'),
        );
        return outcome.bytes;
      });
      if (outer === 4) expect(outcomes[0]!.readUInt16BE(18)).not.toBe(outcomes[1]!.readUInt16BE(18));
    });

    it.each([1280, 1281])('%i bytes', (length) => {
      const sent = udp(from(inner), to(inner, outer, 'near'), { ...padded(inner, length), ttl: 9 });
      const { bytes } = harness.receive('c0', sent);
      expect(bytes.subarray(14).toString('hex')).toBe(wrapped(sent, 8, outer, 0, bytes).toString('hex'));
    });

    it('time to live 1 goes no further', () => {
      harness.clearIcmpLimits();
      const outcome = harness.receive('c0', udp(from(inner), to(inner, outer, 'near'), { ttl: 1 }));
      expect(outcome.mark).toBe(icmpReport(2, 0));
    });

    it('no route, no packet', () => {
      expect(harness.receive('c0', udp(from(inner), to(inner, outer, 'nowhere'))).verdict).toBe('drop');
    });

    it('fits the next hop with its outer header, or the client hears how much does', () => {
      const overhead = outer === 4 ? 20 : 40;
      const least = outer === 4 ? 68 : 1280;
      const room = smallMtu - overhead;
      const settings = inner === 4 ? { doNotFragment: true } : {};
      const send = (length: number) =>
        harness.receive(
          'c0',
          udp(from(inner), to(inner, outer, 'far'), { ...padded(inner, length), ...settings }),
        );
      // IPv6 guarantees the inner packet 1280 bytes; a link that cannot keep that carries no tunnel.
      if (room < least) {
        expect(send(600).verdict).toBe('drop');
        return;
      }
      expect(send(room).verdict).toBe('redirect');
      const tooBig = send(room + 1);
      expect(tooBig.mark).toBe(icmpReport(3, room));
    });
  });
});
