import { basename, dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEbpfPlane } from '../../src/dataplane/ebpf/plane.ts';
import type { Destination, FullNat } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import {
  address,
  decode,
  encode,
  filler,
  fragments,
  icmp,
  type Packet,
  type Settings,
  sctp,
  tcp,
  udp,
} from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, at, destination, serviceId, servicePlan } from './services.ts';

/*
 * Full NAT: real servers see an address of the director and answer there. Every packet is compared whole, with checksums
 * summed anew. The TCP option is that of DPVS and of LVS's full NAT: kind 254, length, the client's port and address.
 */

const sides = {
  4: {
    client: '203.0.113.5',
    vip: '198.51.100.10',
    real: '10.1.0.11',
    local: '10.1.0.1',
    others: ['10.2.0.1', '192.0.2.1'],
    router: '10.9.0.1',
    header: 20,
    option: 8,
  },
  6: {
    client: '2001:db8:c::5',
    vip: '2001:db8:100::10',
    real: 'fd10::11',
    local: 'fd10::1',
    others: ['fd20::1', '2001:db8:2::1'],
    router: 'fd99::1',
    header: 40,
    option: 20,
  },
} as const;
const families = [4, 6] as const;

const fullNat = (place: string, settings: Partial<FullNat> = {}): Destination => ({
  ...destination(place, 'full-nat'),
  fullNat: { localAddresses: [], clientAddress: 'hidden', ...settings },
});
const mss = (size: number) => Uint8Array.of(1, 1, 2, 4, size >> 8, size & 255, 4, 2);

requires(
  'root',
  'netns',
  'bpf',
)('full NAT', () => {
  let harness: Harness;
  let port = 20_000;
  beforeAll(async () => {
    harness = await openHarness('fullnat');
    await harness.apply(
      ...additions(
        families.flatMap((family) => {
          const { vip, real, others } = sides[family];
          return [
            servicePlan(`tcp ${at(vip, 80)}`, 'rr', fullNat(at(real, 8080))),
            servicePlan(`udp ${at(vip, 53)}`, 'rr', fullNat(at(real, 5353))),
            servicePlan(`sctp ${at(vip, 3868)}`, 'rr', fullNat(at(real, 3869))),
            servicePlan(
              `tcp ${at(vip, 81)}`,
              'rr',
              fullNat(at(real, 8081), { localAddresses: others.map(address), clientAddress: 'tcp-option' }),
            ),
            servicePlan(`tcp ${at(vip, 82)}`, 'rr', fullNat(at(real, 82))),
            servicePlan(`tcp ${at(vip, 88)}`, 'rr', fullNat(at(sides[family].local, 88))),
          ];
        }),
      ),
    );
  });
  afterAll(() => harness?.close());

  const ipOf = (bytes: Uint8Array) => bytes.subarray(14);
  /** The source of a packet as `address:port`, which only the program knows before. */
  function sourceOf(bytes: Uint8Array): string {
    const found = decode(ipOf(bytes))!;
    return at(found.source, Buffer.from(ipOf(bytes)).readUInt16BE(found.transport));
  }

  /** A client's packet, which opens a connection or follows; the local end it goes from. */
  function request(packet: Packet): { local: string; bytes: Buffer } {
    const { verdict, bytes } = harness.receive('c0', packet);
    expect(verdict).toBe('redirect');
    return { local: sourceOf(bytes), bytes: ipOf(bytes) as Buffer };
  }

  /** The same where the packet takes a turn through the internal veth first. */
  function turnedRequest(packet: Packet): Buffer {
    const first = harness.receive('c0', packet);
    expect(first.verdict).toBe('redirect');
    expect(first.mark >>> 24).toBe(0x48);
    const second = harness.run('headgate_report', first.bytes, { mark: first.mark });
    expect(second.verdict).toBe('redirect');
    return ipOf(second.bytes) as Buffer;
  }

  describe.each(families)('IPv%i', (family) => {
    const { client, vip, real, local, others, router, option } = sides[family];
    const next = () => at(client, ++port);

    it.each([
      { protocol: 'tcp', virtual: at(vip, 80), server: at(real, 8080), first: 'S' },
      { protocol: 'udp', virtual: at(vip, 53), server: at(real, 5353), first: '' },
      { protocol: 'sctp', virtual: at(vip, 3868), server: at(real, 3869), first: 'S' },
    ] as const)('$protocol there and back', ({ protocol, virtual, server, first }) => {
      const make = (from: string, to: string, flags: string, settings: Settings = {}) => {
        if (protocol === 'tcp') return tcp(from, to, flags, settings);
        if (protocol === 'udp') return udp(from, to, settings);
        const { payload: value = filler(0), ...rest } = settings;
        return sctp(from, to, [{ type: flags === 'S' ? 1 : 0, value }], rest);
      };
      const from = next();
      const opened = request(make(from, virtual, first));
      const portUsed = Number(opened.local.split(':').at(-1));
      expect(opened.local.startsWith(at(local, 0).slice(0, -1))).toBe(true);
      // Below the kernel's own (net.ipv4.ip_local_port_range).
      expect(portUsed).toBeGreaterThanOrEqual(1024);
      expect(portUsed).toBeLessThan(32_768);
      expect(opened.bytes).toEqual(encode(make(opened.local, server, first, { ttl: 63 })));

      const answer = harness.receive('r0', make(server, opened.local, 'SA', { payload: filler(77) }));
      expect(answer.verdict).toBe('redirect');
      expect(ipOf(answer.bytes)).toEqual(encode(make(virtual, from, 'SA', { payload: filler(77), ttl: 63 })));

      const data = { payload: filler(333), tos: 0x48 };
      expect(request(make(from, virtual, 'AP', data)).bytes).toEqual(
        encode(make(opened.local, server, 'AP', { ...data, ttl: 63 })),
      );
      // Another connection has another end, and what belongs to none is the host's.
      expect(request(make(next(), virtual, first)).local).not.toBe(opened.local);
      expect(harness.receive('r0', make(server, at(local, 999), 'SA')).verdict).toBe('pass');
      expect(harness.receive('r0', make(at(real, 1234), opened.local, 'SA')).verdict).toBe('pass');
    });

    it('TCP states, counts and counters', async () => {
      const counts = async () => {
        const { services } = await harness.read();
        const found = services.find(
          ({ service: { id } }) => id.kind === 'address' && id.address === vip && id.port === 82,
        )!;
        const { activeConnections, inactiveConnections, counters } = found.destinations[0]!;
        const { connections, packetsIn, packetsOut } = counters;
        return [activeConnections, inactiveConnections, connections, packetsIn, packetsOut].map(Number);
      };
      const state = async (from: string) =>
        (await harness.connections()).find((one) => at(one.client.address, one.client.port) === from)?.state;
      const from = next();
      const { local: end } = request(tcp(from, at(vip, 82), 'S'));
      expect(await state(from)).toBe('SYN_RECV');
      harness.receive('r0', tcp(at(real, 82), end, 'SA'));
      request(tcp(from, at(vip, 82), 'A'));
      expect(await state(from)).toBe('ESTABLISHED');
      expect(await counts()).toEqual([1, 0, 1, 2, 1]);
      request(tcp(from, at(vip, 82), 'FA'));
      harness.receive('r0', tcp(at(real, 82), end, 'FA'));
      expect(await state(from)).toBe('TIME_WAIT');
      expect(await counts()).toEqual([0, 1, 1, 3, 2]);
    });

    it('time to live that ends', () => {
      harness.clearIcmpLimits();
      const from = next();
      const { local: end } = request(udp(from, at(vip, 53)));
      for (const outcome of [
        harness.receive('c0', udp(from, at(vip, 53), { ttl: 1 })),
        harness.receive('r0', udp(at(real, 5353), end, { ttl: 1 })),
      ]) {
        expect(outcome.verdict).toBe('redirect');
        expect(outcome.mark >>> 24).toBe(0x48);
      }
    });

    const unreachable = family === 4 ? { type: 3, code: 3 } : { type: 1, code: 4 };
    it('an error of the real server, and one of a router before it', () => {
      const from = next();
      const sent = udp(from, at(vip, 53), { payload: filler(20) });
      const { local: end, bytes } = request(sent);
      const seenByClient = encode({ ...sent, ttl: 63 });
      for (const source of [real, router]) {
        const outcome = harness.receive(
          'r0',
          icmp(source, end.replace(/[[\]]|:\d+$/g, ''), { ...unreachable, payload: bytes }),
        );
        expect(outcome.verdict).toBe('redirect');
        expect(ipOf(outcome.bytes)).toEqual(
          encode(
            icmp(vip, client, { ...unreachable, payload: quotedLike(seenByClient, bytes) }, { ttl: 63 }),
          ),
        );
      }
    });

    it('an error of the client about a reply', () => {
      const from = next();
      const { local: end } = request(udp(from, at(vip, 53)));
      const reply = udp(at(real, 5353), end, { payload: filler(30) });
      const { bytes } = harness.receive('r0', reply);
      const outcome = harness.receive('c0', icmp(client, vip, { ...unreachable, payload: ipOf(bytes) }));
      expect(outcome.verdict).toBe('redirect');
      expect(ipOf(outcome.bytes)).toEqual(
        encode(
          icmp(
            local,
            real,
            { ...unreachable, payload: quotedLike(encode({ ...reply, ttl: 63 }), ipOf(bytes)) },
            { ttl: 63 },
          ),
        ),
      );
    });

    it('later fragments follow their first, both ways', () => {
      const from = next();
      const settings = { payload: filler(2400), id: 0x4242, doNotFragment: false };
      const pieces = (one: Packet) => fragments(one, 1280);
      const { local: end } = request(udp(from, at(vip, 53)));
      const out = (device: 'c0' | 'r0', one: Packet) =>
        pieces(one).map((piece) => {
          const { verdict, bytes } = harness.receive(device, piece);
          expect(verdict).toBe('redirect');
          return ipOf(bytes);
        });
      expect(out('c0', udp(from, at(vip, 53), settings))).toEqual(
        pieces(udp(end, at(real, 5353), { ...settings, ttl: 63 })).map(encode),
      );
      expect(out('r0', udp(at(real, 5353), end, settings))).toEqual(
        pieces(udp(at(vip, 53), from, { ...settings, ttl: 63 })).map(encode),
      );
    });

    it('a real server on the director is masqueraded to', () => {
      const from = next();
      const { verdict, bytes } = harness.receive('c0', tcp(from, at(vip, 88), 'S'));
      expect(verdict).toBe('pass');
      expect(ipOf(bytes)).toEqual(encode(tcp(from, at(local, 88), 'S')));
    });

    describe('the client’s address by a TCP option', () => {
      const server = at(real, 8081);
      const virtual = at(vip, 81);
      const carried = (from: string, others: Uint8Array = new Uint8Array()) => {
        const port = Number(from.split(':').at(-1));
        const bytes = encode(tcp(from, virtual, 'A')).subarray(family === 4 ? 12 : 8, family === 4 ? 16 : 24);
        return Uint8Array.from([254, option, port >> 8, port & 255, ...bytes, ...others]);
      };

      it('is in each segment until the real server has taken one, and not in a SYN', () => {
        const from = next();
        const { local: end, bytes } = request(tcp(from, virtual, 'S', { tcpOptions: mss(1460) }));
        expect(others.some((one) => end.startsWith(at(one, 0).slice(0, -1)))).toBe(true);
        expect(bytes).toEqual(encode(tcp(end, server, 'S', { tcpOptions: mss(1460), ttl: 63 })));
        const answer = harness.receive('r0', tcp(server, end, 'SA', { tcpOptions: mss(1460) }));
        expect(ipOf(answer.bytes)).toEqual(
          encode(tcp(virtual, from, 'SA', { tcpOptions: mss(1460 - option), ttl: 63 })),
        );
        expect(turnedRequest(tcp(from, virtual, 'A'))).toEqual(
          encode(tcp(end, server, 'A', { tcpOptions: carried(from), ttl: 63 })),
        );
        const more = { payload: filler(501), tcpOptions: filler(12), sequence: 77 };
        expect(turnedRequest(tcp(from, virtual, 'AP', more))).toEqual(
          encode(tcp(end, server, 'AP', { ...more, tcpOptions: carried(from, filler(12)), ttl: 63 })),
        );
        harness.receive('r0', tcp(server, end, 'A'));
        expect(request(tcp(from, virtual, 'AP', more)).bytes).toEqual(
          encode(tcp(end, server, 'AP', { ...more, ttl: 63 })),
        );
      });

      it('is left out where it does not fit: the segment is whole', () => {
        const { header } = sides[family];
        const from = next();
        const { local: end } = request(tcp(from, virtual, 'S'));
        harness.receive('r0', tcp(server, end, 'SA'));
        const fits = { payload: filler(1500 - header - 20 - option), doNotFragment: family === 4 };
        expect(turnedRequest(tcp(from, virtual, 'A', fits))).toEqual(
          encode(tcp(end, server, 'A', { ...fits, tcpOptions: carried(from), ttl: 63 })),
        );
        const full = { ...fits, payload: filler(fits.payload.length + 1) };
        expect(request(tcp(from, virtual, 'A', full)).bytes).toEqual(
          encode(tcp(end, server, 'A', { ...full, ttl: 63 })),
        );
        const crowded = { tcpOptions: filler(40) };
        expect(request(tcp(from, virtual, 'A', crowded)).bytes).toEqual(
          encode(tcp(end, server, 'A', { ...crowded, ttl: 63 })),
        );
      });
    });
  });

  it('a deleted real server’s connection is reset from its local end', async () => {
    const id = serviceId('tcp 198.51.100.10:83');
    await harness.apply(
      {
        kind: 'add-service',
        service: {
          id,
          scheduler: 'rr',
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
          whenGone: 'reset',
        },
      },
      { kind: 'add-destination', id, destination: fullNat('10.1.0.12:83') },
    );
    const from = `203.0.113.5:${++port}`;
    const { local } = request(tcp(from, '198.51.100.10:83', 'S'));
    harness.receive('r0', tcp('10.1.0.12:83', local, 'SA'));
    request(tcp(from, '198.51.100.10:83', 'A'));
    await harness.apply({ kind: 'delete-destination', id, destination: fullNat('10.1.0.12:83') });
    const first = harness.receive('c0', tcp(from, '198.51.100.10:83', 'AP', { payload: filler(9) }));
    expect(first.mark >>> 24).toBe(0x48);
    const second = harness.run('headgate_report', first.bytes, { mark: first.mark });
    expect(second.verdict).toBe('redirect');
    expect(harness.event('EVENT_CONNECTION_RESET')).toBe(1);
  });

  it('what a command reads is what another one wrote', async () => {
    const { directory } = harness.instance;
    const second = openEbpfPlane({ bpffs: dirname(directory), instance: basename(directory) });
    const settings = async (plane: { read: Harness['read'] }) =>
      (await plane.read()).services.flatMap(({ destinations }) => destinations.map((one) => one.destination));
    expect(await settings(second)).toEqual(await settings(harness));
    expect((await settings(second)).flatMap(({ fullNat }) => fullNat?.localAddresses ?? [])).toEqual(
      families.flatMap((family) => [...sides[family].others]),
    );
    await second.close();
  });

  it.each([
    { settings: { clientAddress: 'proxy-protocol' }, says: /wanted clientAddress tcp-option or hidden/ },
    { settings: { localAddresses: [address('fd10::1')] }, says: /family of 10\.1\.0\.13/ },
    { settings: { localAddresses: Array(9).fill(address('10.1.0.1')) }, says: /9 is outside 0\.\.8/ },
  ] as const)('refuses $settings', async ({ settings, says }) => {
    const add = { kind: 'add-destination', id: serviceId('tcp 198.51.100.10:80') } as const;
    const wanted = { ...add, destination: fullNat('10.1.0.13:80', settings as Partial<FullNat>) };
    await expect(harness.apply(wanted)).rejects.toThrow(says);
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('local ends of full NAT', () => {
  it('are refused when all are taken, and free when their connections have expired', async () => {
    const harness = await openHarness('localends', 600);
    try {
      await harness.apply(...additions([servicePlan('udp 198.51.100.10:53', 'rr', fullNat('10.1.0.11:53'))]));
      const { settings, runtime, map } = harness.instance;
      settings.set(0, 'local_ports', 3);
      const ends = () => [...map('local_ends').keys()].length;
      const until = async (isSo: () => boolean) => {
        const deadline = performance.now() + 20_000;
        while (!isSo()) {
          expect(performance.now()).toBeLessThan(deadline);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      };
      const send = (n: number) => harness.receive('c0', udp(`203.0.113.5:${30_000 + n}`, '198.51.100.10:53'));
      for (let round = 0; round < 2; round++) {
        harness.setLifetimes(3600 * settings.get(0, 'hz'));
        const taken = new Map<string, number>();
        // With 16 tries each, ten clients find all of three ports.
        for (let n = 0; n < 10; n++) {
          const { verdict, bytes } = send(n);
          if (verdict === 'redirect') taken.set(bytes.subarray(34, 36).toString('hex'), n);
        }
        expect(taken.size).toBe(3);
        expect(harness.event('EVENT_NO_LOCAL_END')).toBe(7 * (round + 1));
        expect(ends()).toBe(3);
        // Their next packets are the last ones.
        harness.setLifetimes(2);
        for (const n of taken.values()) send(n);
        await until(() => ends() === 0 && runtime.get(0, 'entries') === 0);
      }
    } finally {
      await harness.close();
    }
  });
});

/** A UDP packet with the checksum of another: what errors quote keeps it, as in IPVS (ip_vs_nat_icmp). */
function quotedLike(packet: Buffer, other: Uint8Array): Uint8Array {
  const at = (packet[0]! >> 4 === 4 ? 20 : 40) + 6;
  packet.set(other.subarray(at, at + 2), at);
  return packet;
}
