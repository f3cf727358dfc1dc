import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { openConnectionFeed } from '../../src/dataplane/ebpf/connection-feed.ts';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import { familyOf } from '../../src/model/address.ts';
import type { SyncedConnection } from '../../src/model/connection-sync.ts';
import type { ForwardingMethod, ServiceId, VirtualService } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { decode, encode, ethernet, filler, fragments, type Packet, sum16, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { destination } from './services.ts';
import { virtualAddresses } from './world.ts';

/*
 * Firewall-mark services: ip_vs_service_find, ip_vs_schedule and ip_vs_sched_persist of Linux 6.12. A marked packet comes by
 * the internal pair, the kernel's routing having taken one from its time to live (RFC 1812 5.3.1), which IPVS would not see.
 */

const families = [
  { family: 4, vip: '198.51.100.10', elsewhere: '198.51.100.99', client: '203.0.113.7', real: '10.1.0.1' },
  {
    family: 6,
    vip: '[2001:db8:100::10]',
    elsewhere: '[2001:db8:100::99]',
    client: '[2001:db8:c::7]',
    real: 'fd10::1',
  },
] as const;
/** First byte of the marks by which packets take the turn through the pair: bpf/icmp.h. */
const turn = 0x48;

requires(
  'root',
  'netns',
  'bpf',
)('services of firewall marks', () => {
  const size = 600;
  let harness: Harness;
  let connections: Records<'connection'>;
  beforeAll(async () => {
    harness = await openHarness('marks', size);
    connections = mapRecords(harness.instance.map('connections'), 'connection');
  });
  afterEach(() => harness.apply({ kind: 'flush' }));
  afterAll(async () => {
    connections?.close();
    await harness?.close();
  });

  const serve = (
    mark: number,
    family: 4 | 6,
    servers: readonly string[],
    more: Partial<VirtualService> & { method?: ForwardingMethod } = {},
    director = harness,
  ) => {
    const { method = 'masquerade', ...settings } = more;
    const id: ServiceId = { kind: 'fwmark', mark, family };
    const flags = { flag1: false, flag2: false, flag3: false };
    return director.apply(
      {
        kind: 'add-service',
        service: { id, scheduler: 'rr', schedulerFlags: flags, onePacket: false, ...settings },
      },
      ...servers.map(
        (at) => ({ kind: 'add-destination', id, destination: destination(at, method) }) as const,
      ),
    );
  };
  /** A packet that its mark has brought to the pair. */
  const routed = (packet: Packet, mark: number, director = harness) =>
    director.run(
      'headgate_routed',
      ethernet(encode(packet), { to: '02:48:47:00:00:00', from: '02:00:00:00:00:77' }),
      { ifindex: director.instance.settings.get(0, 'internal_ifindex'), mark },
    );
  const ipOf = (frame: Buffer) => {
    const bytes = frame.subarray(14);
    const ip = decode(bytes)!;
    // A header with its checksum sums up to nothing (RFC 1071).
    if (ip.family === 4) expect(sum16(bytes.subarray(0, ip.transport))).toBe(0xffff);
    return {
      ...ip,
      sourcePort: bytes.readUInt16BE(ip.transport),
      destinationPort: bytes.readUInt16BE(ip.transport + 2),
    };
  };
  const server = (n: number, { family, real }: (typeof families)[number], port: number) =>
    family === 4 ? `${real}${n}:${port}` : `[${real}${n}]:${port}`;

  for (const plan of families) {
    const { family, vip, elsewhere, client } = plan;
    const on = (n: number, port = 0) => server(n, plan, port);
    const real = (n: number) => `${plan.real}${n}`;

    it(`IPv${family}: takes every address and port of its mark, with the time to live that came in`, async () => {
      await serve(7, family, [on(1), on(2)]);
      const packets = [vip, elsewhere].flatMap((at) => [
        tcp(`${client}:1000`, `${at}:443`, 'S', { ttl: 60 }),
        udp(`${client}:1000`, `${at}:443`, { ttl: 60 }),
      ]);
      const outcomes = packets.map((packet) => routed(packet, 7));
      expect(outcomes.map(({ verdict }) => verdict)).toEqual(Array(4).fill('redirect'));
      const went = outcomes.map(({ bytes }) => ipOf(bytes));
      expect(went.map(({ destination }) => destination)).toEqual([2, 1, 2, 1].map(real));
      for (const ip of went) expect(ip).toMatchObject({ ttl: 60, destinationPort: 443 });
    });

    it(`IPv${family}: a connection goes on at ingress, without the mark`, async () => {
      await serve(7, family, [on(1, 8080)]);
      const ends = [`${client}:1001`, `${elsewhere}:80`] as const;
      expect(harness.receive('c0', tcp(...ends, 'S')).verdict).toBe('pass');
      expect(ipOf(routed(tcp(...ends, 'S', { ttl: 63 }), 7).bytes)).toMatchObject({ destinationPort: 8080 });
      const next = harness.receive('c0', tcp(...ends, 'A', { ttl: 64 }));
      expect(next.verdict).toBe('redirect');
      expect(ipOf(next.bytes)).toMatchObject({ ttl: 63, destination: real(1), destinationPort: 8080 });
      const reply = harness.receive('r0', tcp(on(1, 8080), ends[0], 'SA'));
      expect(reply.verdict).toBe('redirect');
      expect(ipOf(reply.bytes)).toMatchObject({ source: elsewhere.replace(/[[\]]/g, ''), sourcePort: 80 });
    });

    it(`IPv${family}: another director is told of the mark, and finds its service by it`, async () => {
      const successor = await openHarness('marked', size);
      const feeds = [harness, successor].map(({ instance }) => openConnectionFeed(instance));
      try {
        await serve(7, family, [on(1, 8080)]);
        await serve(7, family, [on(1, 8080)], {}, successor);
        feeds[0]!.begin({ packets: 'all' });
        const ends = [`${client}:1002`, `${elsewhere}:80`] as const;
        expect(routed(tcp(...ends, 'S'), 7).verdict).toBe('redirect');
        const told: SyncedConnection[] = [];
        feeds[0]!.drain((one) => told.push(one));
        expect(told).toMatchObject([{ fwmark: 7, clientPort: 1002 }]);
        expect(told.map((one) => feeds[1]!.enter(one))).toEqual(['bound']);
        const next = successor.receive('c0', tcp(...ends, 'A'));
        expect(next.verdict).toBe('redirect');
        expect(ipOf(next.bytes)).toMatchObject({ destination: real(1), destinationPort: 8080 });
      } finally {
        feeds[0]!.end();
        for (const feed of feeds) feed.close();
        await successor.close();
      }
    });

    it(`IPv${family}: one template for all addresses, ports and protocols`, async () => {
      const persistence = { timeoutSeconds: 300, netmask: family === 4 ? 0xffffffff : 128 };
      await serve(0x01020304, family, [on(1, 8080), on(2, 8080)], { persistence });
      const went = [
        routed(tcp(`${client}:2000`, `${vip}:80`, 'S'), 0x01020304),
        routed(tcp(`${client}:2001`, `${elsewhere}:443`, 'S'), 0x01020304),
        routed(udp(`${client}:2002`, `${vip}:53`), 0x01020304),
      ].map(({ bytes }) => ipOf(bytes));
      // A template keeps the packet's own port (ip_vs_sched_persist: the service's port is none).
      expect(went.map(({ destinationPort }) => destinationPort)).toEqual([80, 443, 53]);
      expect(new Set(went.map((ip) => ip.destination)).size).toBe(1);
      const templates = (await harness.connections()).filter(
        ({ template, client }) => template && familyOf(client.address) === family,
      );
      expect(templates).toMatchObject([
        {
          protocol: 'ip',
          client: { port: 0 },
          // union nf_inet_addr fwmark = { .ip = htonl(svc->fwmark) }
          virtual: { address: family === 4 ? '1.2.3.4' : '102:304::', port: 0 },
          destination: { address: went[0]!.destination, port: 0 },
        },
      ]);
    });

    it(`IPv${family}: another director is told of a persistent client, whatever its ports`, async () => {
      const mark = 0x01020305;
      const successor = await openHarness('marked', size);
      const feeds = [harness, successor].map(({ instance }) => openConnectionFeed(instance));
      try {
        const persistence = { timeoutSeconds: 300, netmask: family === 4 ? 0xffffffff : 128 };
        const servers = [1, 2, 3].map((n) => on(n, 8080));
        for (const director of [harness, successor])
          await serve(mark, family, servers, { persistence }, director);
        feeds[0]!.begin({ packets: 'all' });
        const [first, second] = [`${elsewhere}:443`, `${elsewhere}:80`];
        const { destination: chosen } = ipOf(routed(tcp(`${client}:1003`, first, 'S'), mark).bytes);
        const told: SyncedConnection[] = [];
        feeds[0]!.drain((one) => told.push(one));
        expect(told.map(({ clientPort, fwmark, realPort }) => [clientPort, fwmark, realPort])).toEqual([
          // IPVS finds the real server of a template by its port, which counts for nothing else.
          [0, mark, 8080],
          [1003, mark, 443],
        ]);
        expect(told.map((one) => feeds[1]!.enter(one))).toEqual(['bound', 'bound']);
        const next = successor.receive('c0', tcp(`${client}:1003`, first, 'A'));
        expect(ipOf(next.bytes)).toMatchObject({ destination: chosen, destinationPort: 443 });
        // Without the template it would be any of the three's turn, one after the other.
        for (const port of [1004, 1005, 1006])
          expect(ipOf(routed(tcp(`${client}:${port}`, second, 'S'), mark, successor).bytes)).toMatchObject({
            destination: chosen,
            destinationPort: 80,
          });
      } finally {
        feeds[0]!.end();
        for (const feed of feeds) feed.close();
        await successor.close();
      }
    });

    it(`IPv${family}: what no service takes goes on as if it had no mark`, async () => {
      await serve(7, family, [on(1)]);
      for (const mark of [7, 8]) {
        const flags = mark === 7 ? 'A' : 'S';
        const home = routed(tcp(`${client}:3000`, `${vip}:80`, flags, { ttl: 63 }), mark);
        expect(home.verdict).toBe('pass');
        expect(ipOf(home.bytes)).toMatchObject({ ttl: 64 });
        const away = routed(tcp(`${client}:3000`, `${elsewhere}:80`, flags, { ttl: 63 }), mark);
        expect(away.verdict).toBe('redirect');
        expect(away.mark).toBe(mark);
        expect(ipOf(away.bytes)).toMatchObject({ ttl: 63 });
      }
      expect((await harness.connections()).filter((one) => one.client.port === 3000)).toEqual([]);
    });

    it(`IPv${family}: nobody there, and the client hears of it`, async () => {
      harness.clearIcmpLimits();
      await serve(7, family, []);
      const { verdict, mark } = routed(tcp(`${client}:3001`, `${vip}:80`, 'S'), 7);
      expect(verdict).toBe('redirect');
      expect(mark >>> 24).toBe(turn);
    });

    it(`IPv${family}: later fragments follow the first at ingress`, async () => {
      await serve(7, family, [on(1), on(2)]);
      const [first, ...rest] = fragments(
        udp(`${client}:4000`, `${elsewhere}:53`, { payload: filler(3000), id: 77 }),
        1480,
      );
      expect(harness.receive('c0', first!).verdict).toBe('pass');
      const where = ipOf(routed(first!, 7).bytes).destination;
      for (const piece of rest) {
        const { verdict, bytes } = harness.receive('c0', piece);
        expect(verdict).toBe('redirect');
        expect(ipOf(bytes).destination).toBe(where);
      }
    });

    it(`IPv${family}: a destination of this host gets its packets by the pair`, async () => {
      await serve(7, family, [`${vip}:0`], { method: 'direct-routing' });
      const first = routed(tcp(`${client}:5000`, `${vip}:80`, 'S', { ttl: 63 }), 7);
      const next = harness.receive('c0', tcp(`${client}:5000`, `${vip}:80`, 'A', { ttl: 64 }));
      for (const { verdict, bytes } of [first, next]) {
        expect(verdict).toBe('redirect');
        expect(bytes.subarray(0, 12).toString('hex')).toBe('024847000000000000000000');
        expect(ipOf(bytes)).toMatchObject({ ttl: 64 });
      }
      // Once there, it is not looked at again.
      const home = harness.run('headgate_routed', first.bytes, { ifindex: 1, mark: 7 });
      expect(home.verdict).toBe('pass');
      expect(home.bytes).toEqual(first.bytes);
    });

    it(`IPv${family}: a packet that is marked before ingress needs no second look`, async () => {
      await serve(7, family, [on(1)]);
      const { verdict, bytes } = harness.receive(
        'c0',
        tcp(`${client}:6000`, `${elsewhere}:80`, 'S', { ttl: 64 }),
        { mark: 7 },
      );
      expect(verdict).toBe('redirect');
      expect(ipOf(bytes)).toMatchObject({ ttl: 63, destination: real(1) });
    });
  }

  it('forgets the addresses it has learned once no connection needs them', async () => {
    await serve(7, 4, ['10.1.0.11:0']);
    routed(tcp('203.0.113.7:7000', '198.51.100.99:80', 'S'), 7);
    const learned = () =>
      Array.from({ length: 128 }, (_, i) => harness.instance.runtime.get(0, 'learned_filter', i)).some(
        (word) => word !== 0,
      );
    expect(learned()).toBe(true);
    await harness.apply({ kind: 'flush' });
    // The connection is still told apart: it is without its destination.
    expect(harness.receive('c0', tcp('203.0.113.7:7000', '198.51.100.99:80', 'A')).verdict).toBe('drop');
    const { settings, runtime, map } = harness.instance;
    for (let look = 0; runtime.get(0, 'entries') > 0; look++) {
      expect(look).toBeLessThan(10);
      // An hour later; a template that has ruled connections until now goes with the next one.
      for (let slot = 1; slot <= size; slot++) connections.add(slot, 'seen', -3600 * settings.get(0, 'hz'));
      const due = Buffer.alloc(4);
      due.writeUInt32LE((runtime.get(0, 'tick_jiffies') | 1) >>> 0);
      for (const slice of [0, 1, 2]) map('slices').update(slice, due);
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    await harness.apply({ kind: 'set-timeouts', timeouts: { tcp: 900 } });
    expect(learned()).toBe(false);
  });

  it('is not asked for marks by whoever has none', async () => {
    await harness.apply({ kind: 'flush' });
    expect(harness.instance.settings.get(0, 'catch_all') & numbers.catch.CATCH_MARK).toBe(0);
    expect(
      harness.receive('c0', tcp('203.0.113.7:7001', `${virtualAddresses.elsewhere}:80`, 'S'), { mark: 7 })
        .verdict,
    ).toBe('pass');
  });
});
