import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openConnectionFeed } from '../../src/dataplane/ebpf/connection-feed.ts';
import { addressToBytes } from '../../src/model/address.ts';
import type { ConnectionFeed } from '../../src/model/connection-feed.ts';
import { type SyncedConnection, syncFlags } from '../../src/model/connection-sync.ts';
import type { Sysctls } from '../../src/model/sysctls.ts';
import { requires } from '../requirements.ts';
import { disagreement, reportMark } from './agreement.ts';
import { address, encode, filler, fragments, icmp, type Packet, sctp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { amount, randomNumbers, startOf } from './random.ts';
import { createReference, type Expected, type Reference } from './reference.ts';
import { sctpPlans, vip, vip6 } from './sctp-services.ts';
import { additions, destination, servicePlan, virtualService } from './services.ts';
import { type DeviceName, smallMtu, wayTo } from './world.ts';

/*
 * SCTP packets in, verdict and packet out. The checksum of what comes out is made over all of it (crc32c.ts), so that a wrong
 * change of it shows. Rules: RFC 9260, net/netfilter/ipvs/ip_vs_proto_sctp.c.
 */

const plans = [
  ...sctpPlans,
  servicePlan(`sctp ${vip}:82`, 'rr', destination('10.1.0.13:82')),
  servicePlan(`sctp ${vip}:84`, 'rr', destination('10.1.0.13:84', 'masquerade', 0)),
  servicePlan(`sctp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
  servicePlan(`sctp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
];
const families = [
  { family: 'IPv4', from: '203.0.113.5', service: vip, real: '10.1.0.11', direct: '10.1.0.12' },
  { family: 'IPv6', from: '[2001:db8:c::5]', service: vip6, real: '[fd10::11]', direct: '[fd10::12]' },
];
const bare = (address: string) => address.replaceAll(/[[\]]/g, '');
let port = 20_000;

requires(
  'root',
  'netns',
  'bpf',
)('SCTP packets', () => {
  let harness: Harness;
  let reference: Reference;
  beforeAll(async () => {
    harness = await openHarness('sctp');
    await harness.apply(...additions(plans));
    // INIT1 lasts four seconds.
    harness.setLifetimes(900 * harness.instance.settings.get(0, 'hz'));
    reference = createReference(plans);
  });
  beforeEach(() => harness.clearIcmpLimits());
  afterAll(() => harness?.close());

  /** Sends a packet in; it must fare as told, and as the reference says. */
  function send(device: DeviceName, packet: Packet, wanted: Expected): void {
    const frame = inbound(device, packet);
    const outcome = harness.receive(device, packet);
    expect(disagreement(wanted, outcome, frame)).toBeUndefined();
    expect(
      disagreement(reference.receiveFrame(device, frame), outcome, frame),
      'the reference',
    ).toBeUndefined();
  }
  /** What becomes of a packet is not looked at. */
  const receive = (device: DeviceName, packet: Packet) => {
    reference.receiveFrame(device, inbound(device, packet));
    return harness.receive(device, packet);
  };
  const forwarded = (packet: Packet, to: string = packet.destination): Expected => ({
    verdict: 'redirect',
    packet: encode(packet),
    way: wayTo(bare(to)),
  });
  const passed = (packet: Packet): Expected => ({ verdict: 'pass', packet: encode(packet) });
  const stateOf = async (from: string) =>
    (await harness.connections()).find(({ client }) => from.endsWith(`:${client.port}`))?.state;
  const set = (sysctls: Partial<Sysctls>) => harness.apply({ kind: 'set-sysctls', sysctls });
  const opened = async () =>
    (await harness.read()).services.reduce((sum, { counters }) => sum + counters.connections, 0n);

  for (const { family, from, service, real, direct } of families) {
    it(`${family}: masqueraded, from INIT to data and back`, async () => {
      const at = `${from}:${++port}`;
      const steps = [
        ['c0', 'init', 'INIT1'],
        ['r0', 'init-ack', 'C-SENT'],
        ['c0', 'cookie-echo', 'C-REPLIED'],
        ['r0', 'cookie-ack', 'ESTABLISHED'],
        ['c0', 'shutdown', 'S-RECEIVED'],
        ['r0', 'abort', 'CLOSED'],
      ] as const;
      for (const [device, chunk, state] of steps) {
        const [packet, out] =
          device === 'c0'
            ? [sctp(at, `${service}:80`, chunk), sctp(at, `${real}:8080`, chunk, { ttl: 63 })]
            : [sctp(`${real}:8080`, at, chunk), sctp(`${service}:80`, at, chunk, { ttl: 63 })];
        send(device, packet, forwarded(out));
        expect(await stateOf(at), chunk).toBe(state);
      }
    });

    it(`${family}: the checksum of any length is right after a change of port, and stays as wrong as it was`, () => {
      const at = `${from}:${++port}`;
      send('c0', sctp(at, `${service}:80`, 'init'), forwarded(sctp(at, `${real}:8080`, 'init', { ttl: 63 })));
      const random = randomNumbers(startOf('SCTP_START'));
      const lengths = [...Array.from({ length: 40 }, (_, i) => i), 252, 253, 1024, 1444];
      while (lengths.length < amount({ short: 50, usual: 100, long: 1400 })) lengths.push(random.below(1440));
      for (const length of lengths) {
        const chunk = [{ type: 0, value: Uint8Array.from({ length }, () => random.below(256)) }];
        const request = sctp(at, `${service}:80`, chunk);
        send('c0', request, forwarded(sctp(at, `${real}:8080`, chunk, { ttl: 63 })));
        const reply = sctp(`${real}:8080`, at, chunk);
        send('r0', reply, forwarded(sctp(`${service}:80`, at, chunk, { ttl: 63 })));
      }
      const whole = encode(sctp(at, `${service}:80`, 'data'));
      const wanted = encode(sctp(at, `${real}:8080`, 'data', { ttl: 63 }));
      const damage = 0x12345678;
      const field = (family === 'IPv4' ? 20 : 40) + 8;
      for (const bytes of [whole, wanted])
        bytes.writeUInt32LE((bytes.readUInt32LE(field) ^ damage) >>> 0, field);
      expect(harness.receive('c0', whole).bytes.subarray(14)).toEqual(wanted);
    });

    it(`${family}: direct routing changes nothing but the frame`, async () => {
      const at = `${from}:${++port}`;
      for (const [chunk, state] of [
        ['init', 'INIT1'],
        ['cookie-echo', 'INIT1'],
        ['data', 'INIT1'],
      ] as const) {
        const out = sctp(at, `${service}:81`, chunk, { ttl: 63 });
        send('c0', sctp(at, `${service}:81`, chunk), forwarded(out, direct));
        if (chunk === 'init') expect(await stateOf(at), chunk).toBe(state);
      }
      expect(await stateOf(at)).toBe('ESTABLISHED');
      send('r0', sctp(`${service}:81`, at, 'data'), passed(sctp(`${service}:81`, at, 'data')));
    });

    it(`${family}: a checksum left to the device is finished on a turn first`, () => {
      const at = `${from}:${++port}`;
      const first = sctp(at, `${service}:80`, 'init', { checksum: false });
      const { verdict, mark, bytes } = harness.receive('c0', first);
      expect([verdict, mark]).toEqual(['redirect', reportMark({ kind: 'fragmentation', mtu: 0 })]);
      expect(bytes.subarray(14)).toEqual(encode(first));
      expect(harness.event('EVENT_FRAGMENTED')).toBe(0);
      // What comes back has it.
      const again = harness.run('headgate_report', inbound('c0', sctp(at, `${service}:80`, 'init')), {
        ifindex: harness.world.index.c0,
        mark,
      });
      expect(again.bytes.subarray(14)).toEqual(encode(sctp(at, `${real}:8080`, 'init', { ttl: 63 })));
    });

    it(`${family}: an error about a packet is translated with it`, () => {
      const at = `${from}:${++port}`;
      const [address, server] = [bare(service), bare(real)];
      send('c0', sctp(at, `${service}:80`, 'init'), forwarded(sctp(at, `${real}:8080`, 'init', { ttl: 63 })));
      const header = family === 'IPv4' ? 20 : 40;
      const message = family === 'IPv4' ? { type: 3, code: 3 } : { type: 1, code: 4 };
      const reply = encode(sctp(`${service}:80`, at, 'init-ack')).subarray(0, header + 16);
      const quoted = Buffer.from(reply);
      quoted.set(encode(sctp(`${real}:8080`, at, 'init-ack')).subarray(0, header + 4));
      send(
        'c0',
        icmp(bare(from), address, { ...message, payload: reply }),
        forwarded(icmp(bare(from), server, { ...message, payload: quoted }, { ttl: 63 })),
      );
    });
  }

  it.each([
    [['cookie-echo', 'abort'], 'CLOSED'],
    [['data', 'abort'], 'INIT1'],
    [['cookie-echo', 'data'], 'INIT'],
  ] as const)('%j in one packet lead to %s', async (chunks, state) => {
    const at = `203.0.113.6:${++port}`;
    harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
    harness.receive('c0', sctp(at, `${vip}:80`, chunks));
    expect(await stateOf(at)).toBe(state);
  });

  it('an ABORT in the padding behind a COOKIE-ECHO is none', async () => {
    const at = `203.0.113.6:${++port}`;
    harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
    const padded = Buffer.concat([encode(sctp(at, `${vip}:80`, 'cookie-echo')), Buffer.from([6, 0, 0, 4])]);
    harness.receive('c0', padded);
    expect(await stateOf(at)).toBe('INIT');
  });

  it.each(['data', 'init-ack', 'cookie-echo', 'shutdown', 'abort'] as const)(
    '%s without a connection opens none',
    (chunk) => {
      const packet = sctp(`203.0.113.6:${++port}`, `${vip}:80`, chunk);
      send('c0', packet, passed(packet));
    },
  );

  it('another port, and headers cut short, pass', () => {
    const packet = sctp(`203.0.113.6:${++port}`, `${vip}:9999`, 'init');
    send('c0', packet, passed(packet));
    const short = encode(sctp(`203.0.113.6:${++port}`, `${vip}:80`, [])).subarray();
    expect(harness.receive('c0', short).verdict).toBe('pass');
  });

  it('sloppy_sctp: all but an ABORT open a connection', async () => {
    await set({ sloppy_sctp: 1 });
    const abort = sctp(`203.0.113.6:${++port}`, `${vip}:80`, 'abort');
    expect(harness.receive('c0', abort).verdict).toBe('pass');
    const at = `203.0.113.6:${++port}`;
    expect(harness.receive('c0', sctp(at, `${vip}:80`, 'data')).verdict).toBe('redirect');
    expect(await stateOf(at)).toBe('ESTABLISHED');
    const late = `203.0.113.6:${++port}`;
    const packet = sctp(late, `${vip}:80`, ['cookie-ack', 'abort']);
    expect(harness.receive('c0', packet).verdict).toBe('redirect');
    expect(await stateOf(late)).toBe('CLOSED');
    await set({ sloppy_sctp: 0 });
  });

  it.each([
    [0, 0n],
    [1, 1n],
  ])('conn_reuse_mode %i: an INIT of what is CLOSED opens %i anew', async (mode, wanted) => {
    await set({ conn_reuse_mode: mode });
    const at = `203.0.113.6:${++port}`;
    for (const chunk of ['init', 'abort'] as const) harness.receive('c0', sctp(at, `${vip}:80`, chunk));
    expect(await stateOf(at)).toBe('CLOSED');
    const before = await opened();
    harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
    expect((await opened()) - before).toBe(wanted);
    await set({ conn_reuse_mode: 1 });
  });

  it('a client that nobody serves hears that the port is unreachable', () => {
    const packet = sctp(`203.0.113.6:${++port}`, `${vip}:84`, 'init');
    send('c0', packet, {
      ...{ verdict: 'report', packet: encode(packet) },
      report: { kind: 'port-unreachable', mtu: 0 },
    });
  });

  it('a real server on the director gets it translated', () => {
    const at = `203.0.113.6:${++port}`;
    send('c0', sctp(at, `${vip}:88`, 'init'), passed(sctp(at, '10.1.0.1:8080', 'init')));
    // Its device has verified it, or left it to be made: both are good on this host.
    const left = harness.receive('c0', sctp(at, `${vip}:88`, 'data', { checksum: false }));
    expect(left.bytes.subarray(14)).toEqual(encode(sctp(at, '10.1.0.1:8080', 'data', { checksum: false })));
  });

  describe('in fragments', () => {
    const data = (length: number) => [{ type: 0, value: filler(length) }];

    it('one chunk tells how long the packet is, so its port and checksum change with the first', () => {
      const at = `203.0.113.6:${++port}`;
      harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
      const request = fragments(sctp(at, `${vip}:80`, data(3001), { id: 7 }), 1480);
      const out = fragments(sctp(at, '10.1.0.11:8080', data(3001), { id: 7, ttl: 63 }), 1480);
      expect(request).toHaveLength(3);
      for (const [i, piece] of request.entries()) {
        const { verdict, bytes } = harness.receive('c0', piece);
        expect([verdict, bytes.subarray(14)]).toEqual(['redirect', encode(out[i]!)]);
      }
    });

    it('several chunks do not: such a packet is dropped and counted', () => {
      const at = `203.0.113.6:${++port}`;
      harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
      const before = harness.event('EVENT_FRAGMENT_UNKNOWN');
      const chunks = [...data(100), ...data(3000)];
      const [first] = fragments(sctp(at, `${vip}:80`, chunks, { id: 8 }), 1480);
      expect(harness.receive('c0', first!).verdict).toBe('drop');
      expect(harness.event('EVENT_FRAGMENT_UNKNOWN')).toBe(before + 1);
    });

    it('the same port and direct routing do not need to know', () => {
      for (const [service, real, way] of [
        [`${vip}:82`, '10.1.0.13:82', '10.1.0.13'],
        [`${vip}:81`, `${vip}:81`, '10.1.0.12'],
      ] as const) {
        const at = `203.0.113.6:${++port}`;
        receive('c0', sctp(at, service, 'init'));
        const chunks = [...data(100), ...data(3000)];
        const request = fragments(sctp(at, service, chunks, { id: port }), 1480);
        const out = fragments(sctp(at, real, chunks, { id: port, ttl: 63 }), 1480);
        for (const [i, piece] of request.entries()) send('c0', piece, forwarded(out[i]!, way));
      }
    });
  });

  it('too big for the next hop: its sender hears of it', () => {
    const at = `203.0.113.6:${++port}`;
    harness.receive('c0', sctp(at, `${vip}:86`, 'init'));
    const packet = sctp(at, `${vip}:86`, [{ type: 0, value: filler(smallMtu) }], { doNotFragment: true });
    const { verdict, mark } = harness.receive('c0', packet);
    expect([verdict, mark]).toEqual(['redirect', reportMark({ kind: 'too-big', mtu: smallMtu })]);
  });

  it('nat_icmp_send: a real server hears that nobody is there, but for an ABORT', async () => {
    await set({ nat_icmp_send: 1 });
    const stray = sctp('10.1.0.11:8080', `203.0.113.6:${++port}`, 'data');
    expect(harness.receive('r0', stray).mark >>> 16).toBe(0x4809);
    const abort = sctp('10.1.0.11:8080', `203.0.113.6:${port}`, 'abort');
    expect(harness.receive('r0', abort).verdict).toBe('pass');
    await set({ nat_icmp_send: 0 });
  });

  describe('among directors', () => {
    let feed: ConnectionFeed;
    beforeAll(() => {
      feed = openConnectionFeed(harness.instance);
      feed.begin({ packets: 'all' });
    });
    afterAll(() => {
      feed?.end();
      feed?.close();
    });
    const heard = () => {
      const found: SyncedConnection[] = [];
      feed.drain((one) => found.push(one));
      return found.map(({ protocol, state, flags }) => [protocol, state, flags & syncFlags.inactive]);
    };

    it("is told with the kernel's numbers of its states", () => {
      const at = `203.0.113.6:${++port}`;
      heard();
      harness.receive('c0', sctp(at, `${vip}:80`, 'init'));
      expect(heard()).toEqual([[132, 1, syncFlags.inactive]]);
      harness.receive('r0', sctp('10.1.0.11:8080', at, 'cookie-ack'));
      expect(heard()).toEqual([[132, 8, 0]]);
      harness.receive('c0', sctp(at, `${vip}:80`, 'data'));
      expect(heard()).toEqual([]);
      harness.receive('c0', sctp(at, `${vip}:80`, 'shutdown'));
      expect(heard()).toEqual([[132, 10, syncFlags.inactive]]);
    });

    it('goes on where it is told of', async () => {
      const at = `203.0.113.6:${++port}`;
      const told = (state: number): SyncedConnection => ({
        ...{ family: 4, protocol: 132, flags: 0, state, fwmark: 0, timeoutSeconds: 0 },
        ...{ client: addressToBytes(address('203.0.113.6')), clientPort: port },
        ...{ virtual: addressToBytes(address(vip)), virtualPort: 80 },
        ...{ real: addressToBytes(address('10.1.0.11')), realPort: 8080 },
      });
      expect(feed.enter(told(14))).toBe('refused');
      expect(feed.enter(told(8))).toBe('bound');
      expect(await stateOf(at)).toBe('ESTABLISHED');
      const packet = harness.receive('c0', sctp(at, `${vip}:80`, 'data'));
      expect(packet.bytes.subarray(14)).toEqual(encode(sctp(at, '10.1.0.11:8080', 'data', { ttl: 63 })));
      expect(feed.enter({ ...told(13), flags: syncFlags.inactive })).toBe('bound');
      expect(await stateOf(at)).toBe('CLOSED');
    });
  });

  it('drop_entry and half_open_share end what has said no more than INIT', async () => {
    const open = (count: number, ...chunks: ('init' | 'cookie-echo' | 'cookie-ack')[]) => {
      for (let i = 0; i < count; i++) {
        const at = `203.0.113.8:${++port}`;
        for (const chunk of chunks)
          harness.receive(
            chunk === 'cookie-ack' ? 'r0' : 'c0',
            chunk === 'cookie-ack' ? sctp('10.1.0.11:8080', at, chunk) : sctp(at, `${vip}:80`, chunk),
          );
      }
    };
    const inState = async (state: string) =>
      (await harness.connections()).filter(
        (one) => one.client.address === '203.0.113.8' && one.state === state,
      ).length;
    await set({ half_open_share: 1 });
    open(10, 'init', 'cookie-echo', 'cookie-ack');
    open(100, 'init');
    // One percent of 4,096 places; each new connection takes the next.
    expect([await inState('INIT1'), await inState('ESTABLISHED')]).toEqual([40, 10]);
    await set({ half_open_share: 0, drop_entry: 3 });
    // A 32nd of the table a second; here all of it, until nothing is left.
    while ((await inState('INIT1')) > 0) {
      harness.instance.runtime.set(0, 'drop_debt', 320 * 64);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(await inState('ESTABLISHED')).toBe(10);
    await set({ drop_entry: 0 });
  });

  it('a persistent client keeps its real server, and its template is assured by an association', async () => {
    const persistence = { timeoutSeconds: 100, netmask: 0xffffffff };
    const service = { ...virtualService(`sctp ${vip}:90`), persistence };
    await harness.apply(
      { kind: 'add-service', service },
      ...[11, 12].map((last) => ({
        ...{ kind: 'add-destination' as const, id: service.id },
        destination: destination(`10.1.0.${last}:90`),
      })),
    );
    const at = `203.0.113.9:${++port}`;
    harness.receive('c0', sctp(at, `${vip}:90`, 'init'));
    const rows = async () =>
      (await harness.connections()).filter(({ client }) => client.address === '203.0.113.9');
    const template = async () => (await rows()).find(({ template }) => template)!;
    expect((await template()).state).toBe('NONE');
    const real = `${(await template()).destination.address}:90`;
    harness.receive('r0', sctp(real, at, 'cookie-ack'));
    expect((await template()).state).toBe('ASSURED');
    for (let i = 0; i < 4; i++) harness.receive('c0', sctp(`203.0.113.9:${++port}`, `${vip}:90`, 'init'));
    const servers = new Set((await rows()).map((one) => one.destination.address));
    expect([(await rows()).length, servers.size]).toEqual([6, 1]);
  });
});
