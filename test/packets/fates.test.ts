import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ForwardingMethod } from '../../src/model/virtual-service.ts';
import { withNetns } from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { decode, encode, ethernet, filler, icmp, type Packet, tcp, udp } from './frame.ts';
import { clients, member, reals, sitesIn, vips } from './gone-sites.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { type DeviceName, macs, wayTo } from './world.ts';

/*
 * What becomes of connections whose destination is deleted. Silence and the next connection are the kernel's
 * (ip_vs_in_hook, net/netfilter/ipvs/ip_vs_core.c); resets are RFC 9293's, 3.10.7.1 for the client and 3.10.5 for the real
 * server, and the client's is held against what the director's own kernel answers to the same segment.
 */

const families = [4, 6] as const;
const ownAddress = { 4: '10.1.0.1', 6: 'fd10::1' } as const;
const bare = (address: string) => address.replace(/[[\]]/g, '');
const methods: readonly ForwardingMethod[] = ['masquerade', 'direct-routing', 'tunnel'];
const cases = families.flatMap((family) => methods.map((method) => ({ family, method })));
const [sequence, acknowledgement] = [0xfffffff0, 0x8badf00d];

requires(
  'root',
  'netns',
  'bpf',
)('connections whose destination is deleted', () => {
  let harness: Harness;
  let far: Record<'c0' | 'r0', FrameSocket>;
  beforeAll(async () => {
    harness = await openHarness('fates');
    const { outside, farIndex } = harness.world;
    const open = (device: 'c0' | 'r0') => withNetns(outside, () => openFrameSocket(farIndex[device]));
    far = { c0: open('c0'), r0: open('r0') };
  });
  afterAll(async () => {
    for (const socket of Object.values(far ?? {})) socket.close();
    await harness?.close();
  });
  beforeEach(async () => {
    await harness.apply({ kind: 'flush' }, { kind: 'set-sysctls', sysctls: { expire_nodest_conn: 0 } });
    harness.clearIcmpLimits();
  });

  const { site, entriesOf, isForwarded, nextPort } = sitesIn(() => harness);

  describe.each(families)('IPv%i', (family) => {
    it('drop: silence, until it is back', async () => {
      const { client, vip, replace, revive, counted, countedAtOther, arriving } = await site(
        'tcp',
        family,
        undefined,
      );
      harness.receive('c0', tcp(client, vip, 'S'));
      await replace();
      const gone = harness.event('EVENT_DESTINATION_GONE');
      for (const flags of ['A', 'FA', 'S', 'R'])
        expect(harness.receive('c0', tcp(client, vip, flags)).verdict, flags).toBe('drop');
      expect(harness.event('EVENT_DESTINATION_GONE')).toBe(gone + 4);
      expect([counted(), countedAtOther()]).toEqual([
        [1, 0],
        [0, 0],
      ]);
      await revive();
      isForwarded(tcp(client, vip, 'A'), tcp(client, arriving(0), 'A', { ttl: 63 }));
    });

    it('keep: all goes on, counted where it was', async () => {
      const { client, vip, replace, revive, counted, countedAtOther, arriving, placeOf } = await site(
        'tcp',
        family,
        'keep',
      );
      const other = `${clients[family]}:${nextPort()}`;
      harness.receive('c0', tcp(client, vip, 'S'));
      await replace();
      isForwarded(
        tcp(client, vip, 'A', { payload: filler(100) }),
        tcp(client, arriving(0), 'A', { payload: filler(100), ttl: 63 }),
      );
      const reply = harness.receive('r0', tcp(placeOf(0), client, 'A'));
      expect(reply.bytes.subarray(14)).toEqual(encode(tcp(vip, client, 'A', { ttl: 63 })));
      isForwarded(tcp(other, vip, 'S'), tcp(other, arriving(1), 'S', { ttl: 63 }));
      expect([counted(), countedAtOther()]).toEqual([
        [1, 0],
        [1, 0],
      ]);
      // Errors about it find their way too.
      const error = icmp('192.0.2.254', bare(vips[family]), {
        ...(family === 4 ? { type: 3, code: 1 } : { type: 1, code: 3 }),
        payload: encode(tcp(vip, client, 'A')).subarray(0, 68),
      });
      const about = family === 4 ? error : { ...error, source: '2001:db8:2::fe' as Packet['source'] };
      expect(harness.receive('c0', about).verdict).toBe('redirect');
      harness.receive('c0', tcp(client, vip, 'R'));
      expect(counted()).toEqual([0, 1]);
      await revive();
      expect(counted()).toEqual([0, 1]);
    });

    it('expire: a SYN goes elsewhere at once, a segment of the middle is nobody’s', async () => {
      const { client, vip, replace, counted, countedAtOther, arriving } = await site('tcp', family, 'expire');
      const other = `${clients[family]}:${nextPort()}`;
      for (const at of [client, other]) harness.receive('c0', tcp(at, vip, 'S'));
      await replace();
      expect(counted()).toEqual([2, 0]);
      isForwarded(tcp(client, vip, 'S'), tcp(client, arriving(1), 'S', { ttl: 63 }));
      expect([counted(), countedAtOther()]).toEqual([
        [1, 0],
        [1, 0],
      ]);
      const frame = inbound('c0', tcp(other, vip, 'A'));
      const outcome = harness.receive('c0', tcp(other, vip, 'A'));
      expect({ verdict: outcome.verdict, same: outcome.bytes.equals(frame) }).toEqual({
        verdict: 'pass',
        same: true,
      });
      expect([counted(), countedAtOther()]).toEqual([
        [0, 0],
        [1, 0],
      ]);
      expect(await entriesOf(other)).toEqual([]);
      isForwarded(tcp(client, vip, 'A'), tcp(client, arriving(1), 'A', { ttl: 63 }));
    });

    it('expire: a datagram goes elsewhere at once', async () => {
      const { client, vip, replace, counted, countedAtOther, arriving } = await site('udp', family, 'expire');
      isForwarded(udp(client, vip), udp(client, arriving(0), { ttl: 63 }));
      await replace();
      for (let time = 0; time < 2; time++)
        isForwarded(udp(client, vip), udp(client, arriving(1), { ttl: 63 }));
      expect([counted(), countedAtOther()]).toEqual([
        [0, 0],
        [0, 1],
      ]);
    });

    it('reset: a datagram is answered, the next one goes elsewhere', async () => {
      const { client, vip, replace, counted, arriving } = await site('udp', family, 'reset');
      harness.receive('c0', udp(client, vip));
      await replace();
      // REPORT_PORT_UNREACHABLE
      expect(harness.receive('c0', udp(client, vip))).toMatchObject({
        verdict: 'redirect',
        mark: 0x48010000,
      });
      expect(counted()).toEqual([0, 0]);
      isForwarded(udp(client, vip), udp(client, arriving(1), { ttl: 63 }));
    });

    it('reset: a SYN opens a connection, whatever it meets', async () => {
      const { client, vip, replace, counted, arriving } = await site('tcp', family, 'reset');
      harness.receive('c0', tcp(client, vip, 'S'));
      harness.receive('c0', tcp(client, vip, 'A'));
      await replace();
      isForwarded(tcp(client, vip, 'S'), tcp(client, arriving(1), 'S', { ttl: 63 }));
      expect(counted()).toEqual([0, 0]);
    });

    it('a service that is gone with them still says what becomes of them', async () => {
      for (const [whenGone, verdict] of [
        ['drop', 'drop'],
        ['keep', 'redirect'],
        ['expire', 'pass'],
        ['reset', 'redirect'],
      ] as const) {
        const { client, vip, id, counted } = await site('tcp', family, whenGone);
        harness.receive('c0', tcp(client, vip, 'S'));
        await harness.apply({ kind: 'delete-service', id });
        expect(harness.receive('c0', tcp(client, vip, 'A')).verdict, whenGone).toBe(verdict);
        expect(counted(), whenGone).toEqual(whenGone === 'expire' ? [0, 0] : [1, 0]);
      }
    });

    it('an edit of the service counts for those that are gone, and one that says nothing changes nothing', async () => {
      const { client, vip, service, remove } = await site('tcp', family, 'keep');
      const { whenGone, ...silent } = service;
      harness.receive('c0', tcp(client, vip, 'S'));
      await remove();
      await harness.apply({ kind: 'edit-service', service: { ...silent, scheduler: 'wlc' } });
      expect(harness.receive('c0', tcp(client, vip, 'A')).verdict).toBe('redirect');
      await harness.apply({ kind: 'edit-service', service: { ...silent, whenGone: 'drop' } });
      expect(harness.receive('c0', tcp(client, vip, 'A')).verdict).toBe('drop');
      expect(whenGone).toBe('keep');
    });

    it('fragments: a first one decides, later ones follow', async () => {
      const { client, vip, replace, arriving } = await site('udp', family, 'expire');
      harness.receive('c0', udp(client, vip));
      await replace();
      const whole = udp(client, vip, { payload: filler(2000), id: 0x4321 });
      const pieces = cut(whole);
      const wanted = cut(udp(client, arriving(1), { payload: filler(2000), id: 0x4321, ttl: 63 }));
      isForwarded(pieces[0]!, wanted[0]!);
      isForwarded(pieces[1]!, wanted[1]!);
    });
  });

  describe('sysctl expire_nodest_conn', () => {
    const set = (value: number) =>
      harness.apply({ kind: 'set-sysctls', sysctls: { expire_nodest_conn: value } });

    it('1 makes silence another connection', async () => {
      const { client, vip, replace, arriving, counted } = await site('tcp', 4, undefined);
      harness.receive('c0', tcp(client, vip, 'S'));
      await replace();
      expect(harness.receive('c0', tcp(client, vip, 'S')).verdict).toBe('drop');
      await set(1);
      expect((await harness.read()).sysctls).toMatchObject({ expire_nodest_conn: 1 });
      isForwarded(tcp(client, vip, 'S'), tcp(client, arriving(1), 'S', { ttl: 63 }));
      expect(counted()).toEqual([0, 0]);
    });

    it('1 ends connections without waiting for a packet, but for those a service keeps', async () => {
      await set(1);
      const [tcpSite, udpSite, kept] = [
        await site('tcp', 4, undefined),
        await site('udp', 6, undefined),
        await site('tcp', 4, 'expire'),
      ];
      harness.receive('c0', tcp(tcpSite.client, tcpSite.vip, 'S'));
      harness.receive('c0', udp(udpSite.client, udpSite.vip));
      harness.receive('c0', tcp(kept.client, kept.vip, 'S'));
      for (const { remove } of [tcpSite, udpSite, kept]) await remove();
      const until = performance.now() + 20_000;
      while (performance.now() < until && tcpSite.counted()[0] + udpSite.counted()[1] > 0)
        await new Promise((resolve) => setTimeout(resolve, 10));
      expect([tcpSite.counted(), udpSite.counted(), kept.counted()]).toEqual([
        [0, 0],
        [0, 0],
        [1, 0],
      ]);
      expect(await entriesOf(tcpSite.client)).toEqual([]);
    });

    it('1 ends templates with the last of their connections', async () => {
      await set(1);
      const { client, vip, id, service, remove } = await site('udp', 4, undefined);
      const persistence = { timeoutSeconds: 300, netmask: 0xffffffff };
      await harness.apply({ kind: 'edit-service', service: { ...service, persistence } });
      for (const port of [1, 2]) harness.receive('c0', udp(client.replace(/\d+$/, `${6000 + port}`), vip));
      const left = async () =>
        (await harness.connections()).filter(({ virtual }) => virtual.port === id.port);
      expect((await left()).map(({ template }) => template).sort()).toEqual([false, false, true]);
      await remove();
      const until = performance.now() + 100_000;
      while (performance.now() < until && (await left()).length > 0)
        await new Promise((resolve) => setTimeout(resolve, 10));
      expect(await left()).toEqual([]);
    });

    it('1 leaves what a service says for itself', async () => {
      await set(1);
      const { client, vip, replace, arriving } = await site('tcp', 4, 'keep');
      harness.receive('c0', tcp(client, vip, 'S'));
      await replace();
      isForwarded(tcp(client, vip, 'S'), tcp(client, arriving(0), 'S', { ttl: 63 }));
    });

    it.each([
      { value: 0, whenGone: undefined, to: 0 },
      { value: 1, whenGone: undefined, to: 1 },
      { value: 1, whenGone: 'expire', to: 0 },
    ] as const)(
      '$value: a SYN at weight 0 under $whenGone goes to server $to',
      async ({ value, whenGone, to }) => {
        await set(value);
        const { client, vip, id, arriving } = await site('tcp', 4, whenGone);
        harness.receive('c0', tcp(client, vip, 'S'));
        harness.receive('c0', tcp(client, vip, 'A'));
        await harness.apply(
          { kind: 'add-destination', id, destination: member(4, 1, id.port, 'masquerade') },
          {
            kind: 'edit-destination',
            id,
            destination: { ...member(4, 0, id.port, 'masquerade'), weight: 0 },
          },
        );
        isForwarded(tcp(client, vip, 'A'), tcp(client, arriving(0), 'A', { ttl: 63 }));
        isForwarded(tcp(client, vip, 'S'), tcp(client, arriving(to), 'S', { ttl: 63 }));
      },
    );
  });

  describe.each(cases)('reset, IPv$family, $method', ({ family, method }) => {
    /** The next frame that comes out at a device; the director's own IPv6 multicast is no news. */
    function next(device: 'c0' | 'r0', timeoutMs = 1000): Buffer | undefined {
      const until = performance.now() + timeoutMs;
      for (;;) {
        const frame = far[device].receive(Math.max(0, until - performance.now()));
        if (!frame) return undefined;
        const bytes = Buffer.from(frame.bytes);
        if (!frame.outgoing && bytes.readUInt16BE(0) !== 0x3333) return bytes;
      }
    }

    const quiet = () => {
      for (const device of ['c0', 'r0'] as const)
        expect(next(device, 50)?.toString('hex'), device).toBeUndefined();
    };

    const leaving = (packet: Packet, device: DeviceName, to: string) => {
      const way = wayTo(to);
      if (way.kind !== 'neighbour') throw new Error(`no way to ${to}`);
      return ethernet(encode(packet), { to: way.mac, from: macs[device].own }).toString('hex');
    };

    /** What a real server gets, without the tunnel's header. */
    function atServer(): { frame: string; outer?: string } {
      const frame = next('r0');
      if (!frame) throw new Error('nothing came to the real server');
      if (method !== 'tunnel') return { frame: frame.toString('hex') };
      const ip = decode(frame.subarray(14))!;
      const inner = frame.subarray(14 + ip.transport);
      return {
        frame: Buffer.concat([frame.subarray(0, 14), inner]).toString('hex'),
        outer: `${ip.source} ${ip.destination} ${ip.protocol}`,
      };
    }

    const established = async () => {
      const found = await site('tcp', family, 'reset', method);
      far.c0.send(inbound('c0', tcp(found.client, found.vip, 'S')));
      atServer();
      far.c0.send(inbound('c0', tcp(found.client, found.vip, 'A')));
      atServer();
      await found.remove();
      return found;
    };
    const ttl = method === 'tunnel' ? 63 : 64;
    const bareReset = { id: 0, doNotFragment: true, window: 0 } as const;

    const expectAtServer = (client: string, arriving: string, flags: string, ack: number) => {
      const { frame, outer } = atServer();
      expect(frame).toBe(
        leaving(
          tcp(client, arriving, flags, { ...bareReset, sequence, acknowledgement: ack, ttl }),
          'r0',
          bare(reals[family][0]),
        ),
      );
      if (method === 'tunnel')
        expect(outer).toBe(`${ownAddress[family]} ${bare(reals[family][0])} ${family === 4 ? 4 : 41}`);
    };
    const expectAtClient = (packet: Packet) =>
      expect(next('c0')?.toString('hex')).toBe(leaving(packet, 'c0', bare(clients[family])));

    it('both ends are told, once', async () => {
      const { client, vip, arriving, counted } = await established();
      const before = harness.event('EVENT_CONNECTION_RESET');
      const segment = tcp(client, vip, 'PA', { sequence, acknowledgement, payload: filler(700) });
      far.c0.send(inbound('c0', segment));
      expectAtClient(tcp(vip, client, 'R', { ...bareReset, sequence: acknowledgement, acknowledgement: 0 }));
      expectAtServer(client, arriving(0), 'RA', acknowledgement);
      expect(harness.event('EVENT_CONNECTION_RESET')).toBe(before + 1);
      expect(counted()).toEqual([0, 0]);
      expect(await entriesOf(client)).toEqual([]);
      // The same segment again belongs to no connection: the kernel's own answer must be the one we gave.
      far.c0.send(inbound('c0', segment));
      const own = next('c0')!;
      const at = 14 + decode(own.subarray(14))!.transport;
      expect([own.readUInt32BE(at + 4), own.readUInt32BE(at + 8), own[at + 13]]).toEqual([
        acknowledgement,
        0,
        4,
      ]);
      quiet();
    });

    it('a segment that acknowledges nothing gets a reset that acknowledges it', async () => {
      const { client, vip, arriving } = await established();
      const segment = tcp(client, vip, 'F', { sequence, payload: filler(99), tcpOptions: filler(8) });
      far.c0.send(inbound('c0', segment));
      // SEG.SEQ + SEG.LEN, where the FIN counts as one
      const all = (sequence + 100) >>> 0;
      expectAtClient(tcp(vip, client, 'RA', { ...bareReset, sequence: 0, acknowledgement: all }));
      expectAtServer(client, arriving(0), 'R', 0);
      far.c0.send(inbound('c0', segment));
      const own = next('c0')!;
      const at = 14 + decode(own.subarray(14))!.transport;
      expect([own.readUInt32BE(at + 4), own.readUInt32BE(at + 8), own[at + 13]]).toEqual([0, all, 20]);
      quiet();
    });

    it('a reset gets none, and goes on', async () => {
      const { client, vip, arriving } = await established();
      far.c0.send(inbound('c0', tcp(client, vip, 'R', { sequence })));
      expectAtServer(client, arriving(0), 'R', 0);
      quiet();
    });

    it('one that comes back first has its connection', async () => {
      const { client, vip, arriving, revive } = await established();
      await revive();
      far.c0.send(inbound('c0', tcp(client, vip, 'A', { sequence, acknowledgement })));
      const { frame } = atServer();
      expect(frame).toBe(
        leaving(
          tcp(client, arriving(0), 'A', { sequence, acknowledgement, ttl: 63 }),
          'r0',
          bare(reals[family][0]),
        ),
      );
      quiet();
    });
  });

  function cut(packet: Packet): Packet[] {
    const { body, ...rest } = packet;
    const bytes = encode(packet).subarray(packet.source.includes(':') ? 40 : 20);
    return [bytes.subarray(0, 1400), bytes.subarray(1400)].map((payload, i) => ({
      ...rest,
      fragment: { offset: i * 1400, more: i === 0 },
      body: { kind: 'raw', protocol: 17, payload },
    }));
  }
});
