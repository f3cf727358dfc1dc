import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { openConnectionFeed } from '../../src/dataplane/ebpf/connection-feed.ts';
import type { SyncedConnection } from '../../src/model/connection-sync.ts';
import { requires } from '../requirements.ts';
import { decode, encode, ethernet, filler, fragments, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { destination } from './services.ts';

/* The sysctl cache_bypass: ip_vs_leave, ip_vs_conn_new and ip_vs_bypass_xmit of Linux 6.12. */

const families = [
  {
    family: 4,
    vip: '198.51.100.10',
    elsewhere: '198.51.100.99',
    client: '203.0.113.7',
    real: '10.1.0.11:0',
    nobody: '0.0.0.0',
    unreachable: { type: 3, code: 3 },
    header: 20,
  },
  {
    family: 6,
    vip: '[2001:db8:100::10]',
    elsewhere: '[2001:db8:100::99]',
    client: '[2001:db8:c::7]',
    real: '[fd10::11]:0',
    nobody: '::',
    unreachable: { type: 1, code: 4 },
    header: 40,
  },
] as const;
/** First byte of the marks by which packets take the turn through the pair: bpf/icmp.h. */
const turn = 0x48;
const bare = (address: string) => address.replace(/[[\]]/g, '');

requires(
  'root',
  'netns',
  'bpf',
)('cache_bypass', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('bypass', 400);
  });
  afterEach(async () => {
    await harness.apply({ kind: 'flush' }, { kind: 'set-sysctls', sysctls: { cache_bypass: 0 } });
    harness.clearIcmpLimits();
  });
  afterAll(() => harness?.close());

  const schedulerFlags = { flag1: false, flag2: false, flag3: false };
  const serve = (family: 4 | 6, onePacket = false) =>
    harness.apply(
      { kind: 'set-sysctls', sysctls: { cache_bypass: 1 } },
      {
        kind: 'add-service',
        service: { id: { kind: 'fwmark', mark: 7, family }, scheduler: 'rr', schedulerFlags, onePacket },
      },
    );
  /** A packet that its mark has brought to the pair. */
  const routed = (packet: Packet) =>
    harness.run(
      'headgate_routed',
      ethernet(encode(packet), { to: '02:48:47:00:00:00', from: '02:00:00:00:00:77' }),
      { ifindex: harness.instance.settings.get(0, 'internal_ifindex'), mark: 7 },
    );
  const ipOf = (frame: Buffer) => decode(frame.subarray(14))!;
  const rows = async (client: string, port: number) =>
    (await harness.connections()).filter(
      (one) => one.client.port === port && one.client.address === bare(client),
    );

  for (const { family, vip, elsewhere, client, real, nobody, unreachable, header } of families) {
    it(`IPv${family}: goes on to where it was sent, and so does all of its connection`, async () => {
      await serve(family);
      const port = 1000 + family;
      const ends = [`${client}:${port}`, `${elsewhere}:80`] as const;
      const first = routed(tcp(...ends, 'S', { ttl: 60 }));
      expect(first.verdict).toBe('redirect');
      expect(ipOf(first.bytes)).toMatchObject({ destination: bare(elsewhere), ttl: 60 });
      expect(await rows(client, port)).toMatchObject([
        { state: 'SYN_RECV', destination: { address: nobody, port: 0 }, virtual: { port: 80 } },
      ]);
      // Replies pass the director by, and are seen.
      expect(harness.receive('c0', tcp(ends[1], ends[0], 'SA')).verdict).toBe('pass');
      const next = harness.receive('c0', tcp(...ends, 'A', { ttl: 64 }));
      expect(next.verdict).toBe('redirect');
      expect(ipOf(next.bytes)).toMatchObject({ destination: bare(elsewhere), ttl: 63 });
      expect(await rows(client, port)).toMatchObject([{ state: 'ESTABLISHED' }]);
      // Nobody has got it: it is not counted (ip_vs_leave).
      expect((await harness.read()).services[0]!.counters).toMatchObject({ connections: 0n, packetsIn: 0n });
      const id = { kind: 'fwmark', mark: 7, family } as const;
      await harness.apply({ kind: 'add-destination', id, destination: destination(real) });
      expect(ipOf(harness.receive('c0', tcp(...ends, 'A')).bytes).destination).toBe(bare(elsewhere));
      const another = routed(tcp(`${client}:${port + 10}`, ends[1], 'S'));
      expect(ipOf(another.bytes).destination).toBe(destination(real).address);
      // Errors about it go their way.
      const quoted = encode(tcp(ends[1], ends[0], 'A')).subarray(0, header + 8);
      const error = icmp(bare(client), bare(elsewhere), { ...unreachable, payload: quoted });
      expect(harness.receive('c0', error).verdict).toBe('pass');
    });

    it(`IPv${family}: what was sent to this host is refused, and everything with 0`, async () => {
      await serve(family);
      const refused = (to: string) => {
        harness.clearIcmpLimits();
        const { verdict, mark } = routed(tcp(`${client}:1100`, `${to}:80`, 'S'));
        expect([verdict, mark >>> 24]).toEqual(['redirect', turn]);
      };
      refused(vip);
      await harness.apply({ kind: 'set-sysctls', sysctls: { cache_bypass: 0 } });
      refused(elsewhere);
      expect(await rows(client, 1100)).toEqual([]);
    });

    it(`IPv${family}: fragments follow the first, datagrams of their own too`, async () => {
      for (const onePacket of [false, true]) {
        await harness.apply({ kind: 'flush' });
        await serve(family, onePacket);
        harness.forgetFragments();
        const port = onePacket ? 1201 : 1200;
        const pieces = fragments(
          udp(`${client}:${port}`, `${elsewhere}:53`, { payload: filler(3000), id: port }),
          1480,
        );
        expect(ipOf(routed(pieces[0]!).bytes).destination).toBe(bare(elsewhere));
        for (const piece of pieces.slice(1)) {
          const { verdict, bytes } = harness.receive('c0', piece);
          expect(verdict).toBe('redirect');
          expect(ipOf(bytes).destination).toBe(bare(elsewhere));
        }
        expect(await rows(client, port)).toHaveLength(onePacket ? 0 : 1);
      }
    });

    it(`IPv${family}: the next director lets it through as well`, async () => {
      const successor = await openHarness('bypassed', 400);
      const feeds = [harness, successor].map(({ instance }) => openConnectionFeed(instance));
      try {
        await serve(family);
        feeds[0]!.begin({ packets: 'all' });
        const ends = [`${client}:1300`, `${elsewhere}:80`] as const;
        expect(routed(tcp(...ends, 'S')).verdict).toBe('redirect');
        const told: SyncedConnection[] = [];
        feeds[0]!.drain((one) => told.push(one));
        expect(told).toMatchObject([{ fwmark: 7, clientPort: 1300 }]);
        expect(told.map((one) => feeds[1]!.enter(one))).toEqual(['unbound']);
        const next = successor.receive('c0', tcp(...ends, 'A'));
        expect(next.verdict).toBe('redirect');
        expect(ipOf(next.bytes).destination).toBe(bare(elsewhere));
      } finally {
        feeds[0]!.end();
        for (const feed of feeds) feed.close();
        await successor.close();
      }
    });
  }
});
