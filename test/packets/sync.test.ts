import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { openConnectionFeed } from '../../src/dataplane/ebpf/connection-feed.ts';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import { wakeSlices } from '../../src/dataplane/ebpf/slices.ts';
import { addressToBytes } from '../../src/model/address.ts';
import type { ConnectionFeed } from '../../src/model/connection-feed.ts';
import { type SyncedConnection, syncFlags } from '../../src/model/connection-sync.ts';
import { requires } from '../requirements.ts';
import { address, encode, endpoint, tcp, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, at, destination, servicePlan } from './services.ts';

/* What the program tells of connections, and what it makes of those it is told of: ip_vs_sync.c of Linux 6.12. */

const { WORD_LIVE } = numbers.connection_word;
const vip = '198.51.100.10';
const vip6 = '2001:db8:100::10';
const [established, synReceived, finWait, closed, timeWait] = [1, 3, 4, 6, 5];
const tcpNumber = 6;
const client = (port: number) => `203.0.113.7:${port}`;

/** A connection as another director tells of it. */
function told(
  from: string,
  to: string,
  real: string,
  { state = established, flags = 0, protocol = tcpNumber, timeoutSeconds = 900, fwmark = 0 } = {},
): SyncedConnection {
  const [source, service, target] = [endpoint(from), endpoint(to), endpoint(real)];
  return {
    family: source.address.includes(':') ? 6 : 4,
    ...{ protocol, flags, state, fwmark, timeoutSeconds },
    ...{ client: addressToBytes(source.address), clientPort: source.port },
    ...{ virtual: addressToBytes(service.address), virtualPort: service.port },
    ...{ real: addressToBytes(target.address), realPort: target.port },
  };
}
const inactive = syncFlags.inactive;

requires(
  'root',
  'netns',
  'bpf',
)('connections of other directors', () => {
  let harness: Harness;
  let feed: ConnectionFeed;
  let connections: Records<'connection'>;
  beforeAll(async () => {
    harness = await openHarness('sync', 2000);
    feed = openConnectionFeed(harness.instance);
    connections = mapRecords(harness.instance.map('connections'), 'connection');
  });
  afterEach(async () => {
    feed.end();
    drained();
    await harness.apply({ kind: 'flush' });
    for (let look = 0; harness.instance.runtime.get(0, 'entries') > 0; look++) {
      expect(look).toBeLessThan(100);
      // A template whose time is up goes on while it rules connections.
      for (let slot = 1; slot <= 2000; slot++)
        if (connections.get(slot, 'word') & WORD_LIVE) connections.set(slot, 'timeout', 0);
      wakeSlices(harness.instance.map('slices'), harness.instance.runtime.get(0, 'tick_jiffies'), 2000);
      await new Promise((done) => setTimeout(done, 100));
    }
    await new Promise((done) => setTimeout(done, 300));
  });
  afterAll(async () => {
    connections?.close();
    feed?.close();
    await harness?.close();
  });

  const serve = (...servers: string[]) =>
    harness.apply(
      ...additions([servicePlan(`tcp ${vip}:80`, 'rr', ...servers.map((at) => destination(at)))]),
    );
  const listed = async () =>
    (await harness.connections())
      .map(
        ({ client: { port }, destination: { address, port: to }, state }) =>
          `${port} ${address}:${to} ${state}`,
      )
      .sort();
  const counts = async () =>
    Object.fromEntries(
      (await harness.read()).services.flatMap(({ destinations }) =>
        destinations.map((one) => [
          one.destination.address,
          [one.activeConnections, one.inactiveConnections, one.persistentConnections],
        ]),
      ),
    );
  const drained = () => {
    const found: SyncedConnection[] = [];
    feed.drain((one) => found.push(one));
    return found.map(
      ({ clientPort, state, flags }) => `${clientPort} ${state}${flags & inactive ? ' inactive' : ''}`,
    );
  };
  const send = (from: string, flags: string) => harness.receive('c0', tcp(from, `${vip}:80`, flags));

  it('go on to their real server, and count', async () => {
    await serve('10.1.0.11:8080', '10.1.0.12:8080');
    expect(feed.enter(told(client(1), `${vip}:80`, '10.1.0.12:8080'))).toBe('bound');
    expect(
      feed.enter(told(client(2), `${vip}:80`, '10.1.0.11:8080', { state: finWait, flags: inactive })),
    ).toBe('bound');
    expect(await listed()).toEqual(['1 10.1.0.12:8080 ESTABLISHED', '2 10.1.0.11:8080 FIN_WAIT']);
    expect(await counts()).toEqual({ '10.1.0.11': [0, 1, 0], '10.1.0.12': [1, 0, 0] });
    // A segment in the middle of a stream, which opens no connection.
    const { verdict, bytes } = send(client(1), 'A');
    expect([verdict, ...bytes.subarray(14 + 16, 14 + 20)]).toEqual(['redirect', 10, 1, 0, 12]);
    expect(send(client(3), 'A').verdict).toBe('pass');
  });

  it('of FTP go on to the real server of their service, whatever their ports', async () => {
    await harness.apply(
      ...additions([
        servicePlan(`tcp ${vip}:21`, 'rr', destination('10.1.0.11:21'), destination('10.1.0.12:21')),
      ]),
    );
    for (const [n, port, real] of [
      [1, 21, '10.1.0.11:21'],
      [2, 51207, '10.1.0.11:51207'],
      [3, 20, '10.1.0.12:20'],
    ] as const) {
      expect(feed.enter(told(client(n), `${vip}:${port}`, real))).toBe('bound');
      const { verdict, bytes } = harness.receive('r0', tcp(real, client(n), 'A'));
      expect([verdict, ...bytes.subarray(14 + 12, 14 + 16)]).toEqual(['redirect', 198, 51, 100, 10]);
    }
    expect(await counts()).toEqual({ '10.1.0.11': [2, 0, 0], '10.1.0.12': [1, 0, 0] });
  });

  it('change their state, and are replaced by those with another real server', async () => {
    await serve('10.1.0.11:8080', '10.1.0.12:8080');
    feed.enter(told(client(1), `${vip}:80`, '10.1.0.11:8080'));
    feed.enter(
      told(client(1), `${vip}:80`, '10.1.0.11:8080', {
        state: timeWait,
        flags: inactive,
        timeoutSeconds: 120,
      }),
    );
    expect(await listed()).toEqual(['1 10.1.0.11:8080 TIME_WAIT']);
    expect(await counts()).toEqual({ '10.1.0.11': [0, 1, 0], '10.1.0.12': [0, 0, 0] });
    feed.enter(told(client(1), `${vip}:80`, '10.1.0.12:8080'));
    expect(await listed()).toEqual(['1 10.1.0.12:8080 ESTABLISHED']);
    // The end of the one before, told late.
    feed.enter(told(client(1), `${vip}:80`, '10.1.0.11:8080', { state: closed, flags: inactive }));
    expect(await listed()).toEqual(['1 10.1.0.12:8080 ESTABLISHED']);
    expect(await counts()).toEqual({ '10.1.0.11': [0, 0, 0], '10.1.0.12': [1, 0, 0] });
  });

  it('wait for a real server that is not there, and get it', async () => {
    await serve('10.1.0.11:8080');
    const one = told(client(1), `${vip}:80`, '10.1.0.12:8080');
    expect(feed.enter(one)).toBe('unbound');
    expect(await listed()).toEqual(['1 10.1.0.12:8080 ESTABLISHED']);
    expect(send(client(1), 'A').verdict).toBe('drop');
    feed.destinationsCame();
    await harness.apply({
      kind: 'add-destination',
      id: servicePlan(`tcp ${vip}:80`, 'rr').service.id,
      destination: destination('10.1.0.12:8080'),
    });
    expect(feed.destinationsCame()).toBe(true);
    expect(feed.destinationsCame()).toBe(false);
    expect(feed.enter(one)).toBe('bound');
    expect(send(client(1), 'A').verdict).toBe('redirect');
    expect(await counts()).toEqual({ '10.1.0.11': [0, 0, 0], '10.1.0.12': [1, 0, 0] });
    // The entry without a real server is gone with its slot.
    expect(await listed()).toHaveLength(1);
  });

  it('IPv6, UDP, direct routing: the method is that of the real server here', async () => {
    await harness.apply(
      ...additions([
        servicePlan(`tcp [${vip6}]:80`, 'rr', destination('[fd10::11]:80', 'direct-routing')),
        servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.11:5353')),
      ]),
    );
    const from = '[2001:db8:7::7]:9';
    expect(feed.enter(told(from, `[${vip6}]:80`, '[fd10::11]:80', { flags: syncFlags.tunnel }))).toBe(
      'bound',
    );
    expect(
      feed.enter(
        told(client(4), `${vip}:53`, '10.1.0.11:5353', { protocol: 17, state: 0, timeoutSeconds: 0 }),
      ),
    ).toBe('bound');
    expect(await listed()).toEqual(['4 10.1.0.11:5353 UDP', '9 fd10::11:80 ESTABLISHED']);
    expect(harness.receive('c0', tcp(from, `[${vip6}]:80`, 'A')).verdict).toBe('redirect');
    expect(harness.receive('c0', udp(client(4), `${vip}:53`)).verdict).toBe('redirect');
    const [dns] = (await harness.connections()).filter(({ protocol }) => protocol === 'udp');
    // IPVS's lifetime of UDP: none was told.
    expect(dns!.expiresInMs).toBeGreaterThan(290_000);
  });

  it('templates bring clients to their real server', async () => {
    const plan = servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:80'), destination('10.1.0.12:80'));
    const persistence = { timeoutSeconds: 300, netmask: 0xffffff00 };
    await harness.apply(...additions([{ ...plan, service: { ...plan.service, persistence } }]));
    for (const [last, real] of [
      [1, 11],
      [2, 12],
      [3, 11],
      [4, 11],
    ] as const)
      feed.enter(
        told(`203.0.${last}.0:0`, `${vip}:80`, `10.1.0.${real}:80`, {
          flags: syncFlags.template,
          state: 1,
          timeoutSeconds: 300,
        }),
      );
    expect(await counts()).toEqual({ '10.1.0.11': [0, 0, 3], '10.1.0.12': [0, 0, 1] });
    const served = [1, 2, 3, 4].map((last) => send(`203.0.${last}.77:1234`, 'S').bytes[14 + 19]);
    expect(served).toEqual([11, 12, 11, 11]);
    expect(
      (await harness.connections()).filter(({ template }) => template).map(({ state }) => state),
    ).toEqual(Array(4).fill('ASSURED'));
  });

  it('what this plane cannot have is refused', async () => {
    await serve('10.1.0.11:8080');
    const refused = [
      { protocol: 132, state: 14 },
      { state: 11 },
      { flags: syncFlags.onePacket },
      { flags: syncFlags.noClientPort },
      { flags: syncFlags.local },
      { flags: syncFlags.template, state: 2 },
      { flags: syncFlags.template, protocol: 0 },
      { protocol: 17, state: 1 },
    ];
    for (const one of refused)
      expect(feed.enter(told(client(1), `${vip}:80`, '10.1.0.11:8080', one))).toBe('refused');
    expect(await listed()).toEqual([]);
  });

  it('in any order, with packets in between: counts are what the entries say', async () => {
    await serve('10.1.0.11:8080', '10.1.0.12:8080');
    const real = fc.constantFrom('10.1.0.11:8080', '10.1.0.12:8080', '10.1.0.13:8080');
    const step = fc.oneof(
      fc.record({
        port: fc.integer({ min: 1, max: 5 }),
        real,
        state: fc.nat(10),
        flags: fc.constantFrom(0, inactive),
      }),
      fc.record({ port: fc.integer({ min: 1, max: 5 }), segment: fc.constantFrom('S', 'A', 'FA', 'R') }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        for (const one of steps)
          if ('segment' in one) send(client(one.port), one.segment);
          else feed.enter(told(client(one.port), `${vip}:80`, one.real, one));
        const found = await harness.connections();
        const expected = Object.fromEntries(
          ['10.1.0.11', '10.1.0.12'].map((address) => {
            const own = found.filter(({ destination: to }) => to.address === address);
            return [
              address,
              [own.filter(({ active }) => active).length, own.filter(({ active }) => !active).length, 0],
            ];
          }),
        );
        expect(await counts()).toEqual(expected);
        expect(new Set(found.map(({ client: { port } }) => port)).size).toBe(found.length);
      }),
      { numRuns: 60 },
    );
  });

  it('our own are told when they are made and when their state changes, and not for each packet', async () => {
    await serve('10.1.0.11:8080');
    send(client(1), 'S');
    expect(drained()).toEqual([]);
    feed.begin({ packets: 'all' });
    send(client(2), 'S');
    expect(drained()).toEqual([`2 ${synReceived}`]);
    send(client(2), 'A');
    expect(drained()).toEqual([`2 ${established}`]);
    for (let i = 0; i < 100; i++) send(client(2), 'A');
    expect(drained()).toEqual([]);
    send(client(2), 'FA');
    expect(drained()).toEqual(['2 7 inactive']);
    send(client(2), 'R');
    expect(drained()).toEqual([`2 ${closed} inactive`]);
    const all: string[] = [];
    while (!feed.walk(100, true, ({ clientPort }) => all.push(String(clientPort))));
    expect(all.sort()).toEqual(['1', '2']);
    const due: string[] = [];
    while (!feed.walk(100, false, ({ clientPort }) => due.push(String(clientPort))));
    expect(due).toEqual([]);
  });

  it('all of the table is told, wherever the look for those in use has come to', async () => {
    await serve('10.1.0.11:8080');
    for (let port = 1; port <= 9; port++) send(client(port), 'S');
    feed.begin({ packets: 'all' });
    for (let i = 0; i < 4; i++) feed.walk(1, false, () => undefined);
    const all = new Set<number>();
    while (!feed.walk(2, true, ({ clientPort }) => all.add(clientPort)));
    expect(all.size).toBe(9);
  });

  it('with a threshold they are told at the packets that IPVS names', async () => {
    await serve('10.1.0.11:8080');
    feed.begin({ packets: { threshold: 3, period: 50 } });
    const told: number[] = [];
    send(client(2), 'S');
    if (drained().length > 0) told.push(1);
    for (let packet = 2; packet <= 120; packet++) {
      send(client(2), 'A');
      if (drained().length > 0) told.push(packet);
    }
    expect(told).toEqual([3, 53, 103]);
    send(client(2), 'FA');
    expect(drained()).toEqual(['2 7 inactive']);
  });

  it('with a refresh time packets are no reason to tell of them within it', async () => {
    await serve('10.1.0.11:8080');
    feed.begin({ packets: { threshold: 0, period: 2 }, refreshSeconds: 3600 });
    for (const segment of ['S', 'A', 'A', 'A']) send(client(2), segment);
    expect(drained()).toEqual([`2 ${established}`]);
    for (let i = 0; i < 10; i++) send(client(2), 'A');
    expect(drained()).toEqual([]);
    // A change of state is one.
    send(client(2), 'FA');
    expect(drained()).toEqual(['2 7 inactive']);
  });

  it('what a template rules can be left out, and the template is not', async () => {
    const plan = servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080'));
    const persistence = { timeoutSeconds: 300, netmask: 0xffffffff };
    await harness.apply(...additions([{ ...plan, service: { ...plan.service, persistence } }]));
    feed.begin({ packets: 'all', withoutRuled: true });
    send(client(2), 'S');
    const told: number[] = [];
    feed.drain(({ flags, clientPort }) => told.push(flags & syncFlags.template ? 0 : clientPort));
    expect(told).toEqual([0]);
    const all: number[] = [];
    while (!feed.walk(100, true, ({ clientPort }) => all.push(clientPort)));
    expect(all).toEqual([0]);
    feed.begin({ packets: 'all' });
    while (!feed.walk(100, true, ({ clientPort }) => all.push(clientPort)));
    expect(all.sort()).toEqual([0, 0, 2]);
  });

  it.each([
    [4, vip, '203.0.113.7', '10.1.0.11', '10.1.0.1', '10.1.0.2'],
    [6, vip6, '2001:db8:7::7', 'fd10::11', 'fd10::1', 'fd10::2'],
  ] as const)(
    'IPv%i with full NAT: they keep the local end that they had',
    async (family, virtual, from, real, local, other) => {
      const place = at(virtual, 80);
      const server = at(real, 8080);
      const fullNat = { localAddresses: [address(local)], clientAddress: 'hidden' } as const;
      await harness.apply(
        ...additions([servicePlan(`tcp ${place}`, 'rr', { ...destination(server, 'full-nat'), fullNat })]),
      );
      const one = told(at(from, 1), place, server, { flags: syncFlags.fullNat });
      const end = (of: string, port: number) => ({ local: { address: addressToBytes(address(of)), port } });
      // The real server would not know it, or answer elsewhere.
      expect(feed.enter(one)).toBe('refused');
      expect(feed.enter({ ...one, ...end(other, 1025) })).toBe('refused');
      expect(feed.enter({ ...one, ...end(local, 1025) })).toBe('bound');
      const ip = ({ verdict, bytes }: { verdict: string; bytes: Buffer }) => [verdict, bytes.subarray(14)];
      const sent = (flags: string, port: number) => [
        ip(harness.receive('c0', tcp(at(from, 1), place, flags))),
        ['redirect', encode(tcp(at(local, port), server, flags, { ttl: 63 }))],
      ];
      const [first, firstWanted] = sent('A', 1025);
      expect(first).toEqual(firstWanted);
      expect(ip(harness.receive('r0', tcp(server, at(local, 1025), 'A')))).toEqual([
        'redirect',
        encode(tcp(place, at(from, 1), 'A', { ttl: 63 })),
      ]);
      // Nobody else has that end while it lives; told with another one, it is another connection.
      const second = {
        ...told(at(from, 2), place, server, { flags: syncFlags.fullNat }),
        ...end(local, 1025),
      };
      expect(feed.enter(second)).toBe('refused');
      expect(feed.enter({ ...one, ...end(local, 1026) })).toBe('bound');
      const [again, againWanted] = sent('A', 1026);
      expect(again).toEqual(againWanted);
      expect(feed.enter(second)).toBe('bound');
      expect(await counts()).toEqual({ [real]: [2, 0, 0] });
      // Ours are told with theirs, to who knows what that is.
      const ends: unknown[] = [];
      const take = ({ clientPort, local: own, flags }: SyncedConnection) =>
        ends.push([
          clientPort,
          flags & syncFlags.method,
          own && Buffer.from(own.address).toString('hex'),
          own?.port,
        ]);
      feed.begin({ packets: 'all', localEnds: true });
      const opened = harness.receive('c0', tcp(at(from, 3), place, 'S')).bytes.subarray(14);
      feed.drain(take);
      const header = family === 4 ? 20 : 40;
      const hex = Buffer.from(addressToBytes(address(local))).toString('hex');
      expect(ends).toEqual([[3, syncFlags.fullNat, hex, opened.readUInt16BE(header)]]);
      feed.begin({ packets: 'all' });
      while (!feed.walk(100, true, take));
      expect(ends).toHaveLength(1);
    },
  );

  it.each([
    ['is told where no template rules its control connection', undefined, [2, 3]],
    ['is not where one does', { timeoutSeconds: 300, netmask: 0xffffffff }, [0]],
  ])('what is left out so: an FTP data connection %s', async (_name, persistence, wanted) => {
    const plan = servicePlan(`tcp ${vip}:21`, 'rr', destination('10.1.0.11:21'));
    const service = { ...plan.service, ...(persistence && { persistence }) };
    await harness.apply(...additions([{ ...plan, service }]));
    feed.begin({ packets: 'all', withoutRuled: true });
    const request = (from: string, port: number, flags: string) =>
      harness.receive('c0', tcp(from, `${vip}:${port}`, flags));
    const answer = (flags: string, payload = '') =>
      harness.receive('r0', tcp('10.1.0.11:21', client(2), flags, { payload: Buffer.from(payload) }));
    request(client(2), 21, 'S');
    answer('SA');
    request(client(2), 21, 'A');
    answer('PA', '229 Entering Extended Passive Mode (|||51207|)\r\n');
    expect(request(client(3), 51207, 'S').verdict).toBe('redirect');
    const all: number[] = [];
    while (!feed.walk(100, true, ({ clientPort }) => all.push(clientPort)));
    expect(all.sort()).toEqual(wanted);
  });

  it.each(process.env.LONG ? [1 << 20] : [])(
    'what a feed of %i bytes has no room for is counted',
    async (size) => {
      await serve('10.1.0.11:8080');
      send(client(1), 'S');
      feed.begin({ packets: 'all' });
      const before = feed.lost();
      // Sixteen bytes an event; each round has two.
      const rounds = size / 16 / 2 + 10;
      for (let i = 0; i < rounds; i++) for (const segment of ['A', 'FA', 'S']) send(client(1), segment);
      expect(feed.lost()).toBeGreaterThan(before);
      expect(drained()).toHaveLength(1);
    },
    300_000,
  );
});
