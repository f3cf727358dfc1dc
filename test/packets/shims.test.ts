import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Tunnel } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { address, encode, filler, fragments, icmp, type Packet, sum16, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { smallMtu } from './world.ts';

/*
 * Tunnels of type gue and gre, byte by byte: RFC 768 and draft-ietf-intarea-gue-09 (version 0, no options), RFC 2784; with the
 * choices of ipvs_gue_encap, ipvs_gre_encap and ip_vs_tunnel_xmit of Linux 6.12.
 */

const vips = { 4: '198.51.100.10', 6: '[2001:db8:100::10]' } as const;
const clients = { 4: '203.0.113.5', 6: '[2001:db8:c::5]' } as const;
const reals = {
  4: { address: '10.1.0.11', far: '10.2.0.11', source: '10.1.0.1' },
  6: { address: 'fd10::11', far: 'fd20::11', source: 'fd10::1' },
} as const;
const protocolOf = { 4: 4, 6: 41 } as const;
const typeOf = { 4: 0x0800, 6: 0x86dd } as const;
const bracketed = (text: string) => (text.includes(':') ? `[${text}]` : text);
const guePort = 6080;
const tunnels: readonly { readonly tunnel: Tunnel; readonly shim: number }[] = [
  { tunnel: { type: 'gue', port: guePort, checksum: 'none' }, shim: 12 },
  { tunnel: { type: 'gue', port: guePort, checksum: 'checksum' }, shim: 12 },
  { tunnel: { type: 'gue', port: guePort, checksum: 'remote' }, shim: 12 },
  { tunnel: { type: 'gre', port: 0, checksum: 'none' }, shim: 4 },
  { tunnel: { type: 'gre', port: 0, checksum: 'checksum' }, shim: 8 },
];
const kinds = tunnels.flatMap((kind, index) =>
  ([4, 6] as const).flatMap((inner) =>
    ([4, 6] as const).map((outer) => ({
      ...kind,
      inner,
      outer,
      port: 100 * (index + 1) + outer,
      name: `${kind.tunnel.type}, ${kind.tunnel.checksum}: IPv${inner} in IPv${outer}`,
    })),
  ),
);

requires(
  'root',
  'netns',
  'bpf',
)('tunnels of type gue and gre', () => {
  let harness: Harness;
  let clientPort = 30_000;
  beforeAll(async () => {
    harness = await openHarness('shims');
    await harness.apply(
      ...additions(
        kinds.flatMap(({ tunnel, inner, outer, port }) =>
          ([port, port + 10] as const).flatMap((at) =>
            (['tcp', 'udp'] as const).map((protocol) => {
              const to = at === port ? reals[outer].address : reals[outer].far;
              const one = { ...destination(`${bracketed(to)}:${at}`, 'tunnel'), tunnel };
              return servicePlan(`${protocol} ${vips[inner]}:${at}`, 'rr', one);
            }),
          ),
        ),
      ),
    );
  });
  afterAll(() => harness?.close());

  describe.each(kinds)('$name', ({ tunnel, inner, outer, port, shim }) => {
    const from = () => `${clients[inner]}:${++clientPort}`;
    const near = `${vips[inner]}:${port}`;
    const far = `${vips[inner]}:${port + 10}`;

    /** The outer packet of an inner one; what nobody can foretell is taken from what was found. */
    function wrapped(payload: Buffer, ttl: number, whole: boolean, found: Buffer): Buffer {
      const ends = { source: address(reals[outer].source), destination: address(reals[outer].address) };
      const common = {
        ...ends,
        ttl,
        ...(outer === 4 && { doNotFragment: whole, id: whole ? 0 : found.readUInt16BE(14 + 4) }),
      };
      if (tunnel.type === 'gue') {
        const sourcePort = found.readUInt16BE(14 + (outer === 4 ? 20 : 40));
        // net.ipv4.ip_local_port_range (udp_flow_src_port).
        expect(sourcePort).toBeGreaterThanOrEqual(32_768);
        expect(sourcePort).toBeLessThanOrEqual(60_999);
        const head = Buffer.from([0, protocolOf[inner], 0, 0]);
        return encode({
          ...common,
          body: {
            kind: 'udp',
            sourcePort,
            destinationPort: guePort,
            checksum: tunnel.checksum !== 'none',
            payload: Buffer.concat([head, payload]),
          },
        });
      }
      const head = Buffer.alloc(shim);
      head.writeUInt16BE(tunnel.checksum === 'none' ? 0 : 0x8000, 0);
      head.writeUInt16BE(typeOf[inner], 2);
      if (shim === 8) head.writeUInt16BE(~sum16(Buffer.concat([head, payload])) & 0xffff, 4);
      return encode({
        ...common,
        body: { kind: 'raw', protocol: 47, payload: Buffer.concat([head, payload]) },
      });
    }

    const send = (packet: Packet) => {
      const outcome = harness.receive('c0', packet);
      expect(outcome.verdict).toBe('redirect');
      return outcome.bytes;
    };
    const compare = (packet: Packet, found: Buffer) => {
      const payload = encode({ ...packet, ttl: packet.ttl! - 1 });
      const whole = inner === 4 ? packet.doNotFragment === true : payload.length > 1280;
      expect(found.subarray(14).toString('hex')).toBe(
        wrapped(payload, packet.ttl! - 1, whole, found).toString('hex'),
      );
    };

    it('a SYN, a segment with data, of odd length', () => {
      const source = from();
      for (const [flags, length] of [
        ['S', 0],
        ['A', 0],
        ['A', 1001],
      ] as const) {
        const packet = tcp(source, near, flags, {
          ttl: 17,
          payload: filler(length),
          doNotFragment: inner === 4,
        });
        compare(packet, send(packet));
      }
    });

    it('datagrams with a checksum and without', () => {
      const source = from();
      const ports = [true, inner === 6].map((checksum) => {
        const packet = udp(source, near, { ttl: 9, payload: filler(333), checksum });
        const found = send(packet);
        compare(packet, found);
        return found.readUInt16BE(14 + (outer === 4 ? 20 : 40));
      });
      // One connection, one path through the network.
      expect(ports[0]).toBe(ports[1]);
    });

    it('fragments', () => {
      const packet = udp(from(), near, { ttl: 9, payload: filler(2500), id: 4711 });
      for (const piece of fragments(packet, 1280)) compare({ ...piece, ttl: 9 }, send(piece));
    });

    it('fits the next hop with all outer headers, or the client hears how much does', () => {
      const room = smallMtu - (outer === 4 ? 20 : 40) - shim;
      const sized = (length: number) =>
        udp(from(), far, { payload: filler(length - (inner === 4 ? 28 : 48)), doNotFragment: inner === 4 });
      if (outer === 6) return expect(harness.receive('c0', sized(600)).verdict).toBe('drop');
      expect(harness.receive('c0', sized(room)).bytes).toHaveLength(14 + smallMtu);
      expect(harness.receive('c0', sized(room + 1)).mark).toBe(0x48030000 | room);
    });

    it('what a router says about the outer packet is told to the client about its own', () => {
      const packet = tcp(from(), near, 'S', { ttl: 17, doNotFragment: inner === 4 });
      const quoted = send(packet).subarray(14);
      harness.clearIcmpLimits();
      const { type, code } = outer === 4 ? { type: 3, code: 4 } : { type: 2, code: 0 };
      const error = icmp(outer === 4 ? '10.1.0.254' : 'fd10::254', reals[outer].source, {
        type,
        code,
        rest: 1400,
        payload: quoted,
      });
      const told = harness.receive('r0', error);
      const room = 1400 - (outer === 4 ? 20 : 40) - shim;
      expect(told.mark).toBe(0x48030000 | (inner === 6 ? Math.max(1280, room) : room));
      expect(told.bytes.subarray(14).toString('hex')).toBe(encode({ ...packet, ttl: 16 }).toString('hex'));
    });
  });
});
