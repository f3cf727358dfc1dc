import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { disagreement } from './agreement.ts';
import { encode, filler, mac, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness, outbound } from './harness.ts';
import { createReference } from './reference.ts';
import { additions, destination, serviceId, servicePlan } from './services.ts';
import { macs, smallMtu, wayTo } from './world.ts';

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.12:5353')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::12]:5353')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.11:81', 'direct-routing')),
  servicePlan(`tcp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
  servicePlan(`tcp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
  servicePlan(`udp ${vip6}:88`, 'rr', destination('[fd10::1]:8080')),
  servicePlan(`tcp ${vip}:90`, 'rr', destination('10.1.0.14:90')),
  servicePlan(`tcp ${vip}:93`, 'rr', destination('10.1.0.11:93'), destination('10.1.0.12:93')),
  servicePlan(`tcp ${vip}:92`, 'rr', destination('10.1.0.13:92', 'masquerade', 0)),
];

let port = 40_000;
const client = () => `203.0.113.5:${++port}`;

requires(
  'root',
  'netns',
  'bpf',
)('frames', () => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await openHarness('frames');
    await harness.apply(...additions(plans));
  });
  afterAll(() => harness?.close());

  const ingress = (frame: Uint8Array) =>
    harness.run('headgate_ethernet', frame, { ifindex: harness.world.index.c0 });

  it('not for this host, tagged or of another protocol: untouched, and nothing is opened', async () => {
    const good = inbound('c0', tcp(client(), `${vip}:80`, 'S'));
    const changed = (change: (frame: Buffer) => Buffer | undefined): Buffer => {
      const frame = Buffer.from(good);
      return change(frame) ?? frame;
    };
    const set = (bytes: Buffer, offset: number) =>
      changed((frame) => {
        bytes.copy(frame, offset);
        return undefined;
      });
    const tag = Buffer.from([0x81, 0x00, 0x00, 0x07]);
    const frames = {
      'another host': set(mac('02:00:00:00:00:c1'), 0),
      broadcast: set(mac('ff:ff:ff:ff:ff:ff'), 0),
      multicast: set(mac('01:00:5e:00:00:01'), 0),
      'a VLAN tag': changed((frame) => Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)])),
      'two VLAN tags': changed((frame) =>
        Buffer.concat([frame.subarray(0, 12), tag, tag, frame.subarray(12)]),
      ),
      'IPv6 by its type, IPv4 inside': set(Buffer.from([0x86, 0xdd]), 12),
      ARP: set(Buffer.from([0x08, 0x06]), 12),
      'IP version 5': set(Buffer.from([0x55]), 14),
      'a header length of 16 bytes': set(Buffer.from([0x44]), 14),
      'a header longer than the packet': set(Buffer.from([0x4f]), 14),
      'a total length beyond the packet': set(Buffer.from([0, 41]), 16),
      'a total length below the headers': set(Buffer.from([0, 39]), 16),
      'a broken header checksum': set(Buffer.from([good[24]! ^ 1]), 24),
    };
    const before = (await harness.connections()).length;
    for (const [name, frame] of Object.entries(frames)) {
      const outcome = ingress(frame);
      expect(outcome.verdict, name).toBe('pass');
      expect(outcome.bytes.equals(frame), name).toBe(true);
    }
    expect(await harness.connections()).toHaveLength(before);
    expect(ingress(good).verdict, 'the one they were made from').toBe('redirect');
  });

  it('Ethernet padding stays behind the packet and counts for nothing', async () => {
    const at = client();
    const frame = Buffer.concat([inbound('c0', udp(at, `${vip}:53`)), Buffer.alloc(10, 0xaa)]);
    const wanted = Buffer.concat([encode(udp(at, '10.1.0.12:5353', { ttl: 63 })), Buffer.alloc(10, 0xaa)]);
    const read = async () =>
      (await harness.read()).services.find(
        ({ service }) => service.id.kind === 'address' && service.id.port === 53,
      )!.counters;
    const before = await read();
    const outcome = ingress(frame);
    expect(
      disagreement({ verdict: 'redirect', packet: wanted, way: wayTo('10.1.0.12') }, outcome, frame),
    ).toBeUndefined();
    const after = await read();
    expect(after.connections - before.connections).toBe(1n);
    expect(after.packetsIn - before.packetsIn).toBe(1n);
    expect(after.bytesIn - before.bytesIn).toBe(BigInt(encode(udp(at, `${vip}:53`)).length));
  });

  it('the second packet within a second has the MAC addresses of its next hop', () => {
    const at = client();
    const pairs = [
      { device: 'c0' as const, packet: tcp(at, `${vip}:80`, 'S'), to: '10.1.0.11' },
      { device: 'r0' as const, packet: tcp('10.1.0.11:8080', at, 'SA'), to: '203.0.113.5' },
    ];
    for (const { device, packet, to } of pairs) {
      const way = wayTo(to);
      if (way.kind !== 'neighbour') throw new Error('no neighbour');
      const wanted = Buffer.concat([mac(way.mac), mac(macs[way.device].own)]).toString('hex');
      const headers = Array.from({ length: 5 }, () =>
        harness.receive(device, packet).bytes.subarray(0, 12).toString('hex'),
      );
      // A lookup falls between two of them at most once.
      expect(headers.filter((header) => header === wanted).length).toBeGreaterThanOrEqual(3);
    }
  });

  it('super-packets are measured by their segments', () => {
    const at = client();
    harness.receive('c0', tcp(at, `${vip}:86`, 'S'));
    harness.clearIcmpLimits();
    const packet = tcp(at, `${vip}:86`, 'A', {
      payload: filler(2400),
      doNotFragment: true,
      tcpOptions: filler(12),
    });
    const send = (gsoSize: number) =>
      harness.receive('c0', packet, { gsoSize, gsoSegments: Math.ceil(2400 / gsoSize) });
    const room = smallMtu - 20 - 32;
    expect(send(room)).toMatchObject({ verdict: 'redirect', mark: 0 });
    expect(send(room + 1)).toMatchObject({ verdict: 'redirect', mark: 0x48030000 + smallMtu });
  });

  it('ICMP errors are limited as the kernel limits them: six at once for a client, path MTU messages not at all', () => {
    const tired = client();
    harness.clearIcmpLimits();
    const limited = harness.event('EVENT_ICMP_LIMITED');
    const again = (at: string) => harness.receive('c0', tcp(at, `${vip}:92`, 'S'));
    const verdicts = Array.from({ length: 10 }, () => again(tired).verdict);
    expect(verdicts).toEqual([...Array(6).fill('redirect'), ...Array(4).fill('drop')]);
    expect(harness.event('EVENT_ICMP_LIMITED')).toBe(limited + 4);
    expect(again(`203.0.113.99:${port}`).verdict, 'another client').toBe('redirect');
    harness.receive('c0', tcp(tired, `${vip}:86`, 'S'));
    const big = tcp(tired, `${vip}:86`, 'A', { payload: filler(1400), doNotFragment: true });
    for (let time = 0; time < 60; time++) {
      expect(harness.receive('c0', big), `time ${time}`).toMatchObject({
        verdict: 'redirect',
        mark: 0x48030000 + smallMtu,
      });
    }
  });

  it('connections of a deleted destination are dropped until it comes back', async () => {
    const at = client();
    const one = { id: serviceId(`tcp ${vip}:90`), destination: destination('10.1.0.14:90') };
    expect(harness.receive('c0', tcp(at, `${vip}:90`, 'S')).verdict).toBe('redirect');
    await harness.apply({ kind: 'delete-destination', ...one });
    const gone = harness.event('EVENT_DESTINATION_GONE');
    const frame = inbound('c0', tcp(at, `${vip}:90`, 'A'));
    const outcome = ingress(frame);
    expect(outcome.verdict).toBe('drop');
    expect(outcome.bytes.equals(frame)).toBe(true);
    expect(harness.event('EVENT_DESTINATION_GONE')).toBe(gone + 1);
    // Replies still reach the client (ip_vs_out_hook does not ask whether the destination is available).
    expect(harness.receive('r0', tcp('10.1.0.14:90', at, 'SA')).verdict).toBe('redirect');
    await harness.apply({ kind: 'add-destination', ...one });
    expect(harness.receive('c0', tcp(at, `${vip}:90`, 'A')).verdict).toBe('redirect');
    expect((await harness.connections()).filter(({ client: { port: own } }) => own === port)).toHaveLength(1);
  });

  it('a SYN opens a new connection on TIME_WAIT and CLOSE, and on no other state', async () => {
    const server = (packet: Packet) => harness.receive('c0', packet).bytes[14 + 19]!;
    const counted = async () =>
      (await harness.read()).services.find(({ service: { id } }) => id.kind === 'address' && id.port === 93)!
        .counters.connections;
    const ways: readonly {
      readonly name: string;
      readonly steps: readonly string[];
      readonly anew: boolean;
    }[] = [
      { name: 'SYN_RECV', steps: [], anew: false },
      { name: 'ESTABLISHED', steps: ['<SA', 'A'], anew: false },
      { name: 'FIN_WAIT', steps: ['<SA', 'A', '<FA'], anew: false },
      { name: 'CLOSE_WAIT', steps: ['<SA', 'A', 'FA'], anew: false },
      { name: 'TIME_WAIT', steps: ['<SA', 'A', 'FA', '<FA'], anew: true },
      { name: 'CLOSE', steps: ['<SA', 'A', 'R'], anew: true },
    ];
    for (const { name, steps, anew } of ways) {
      const at = client();
      const first = server(tcp(at, `${vip}:93`, 'S'));
      for (const step of steps) {
        if (step.startsWith('<')) harness.receive('r0', tcp(`10.1.0.${first}:93`, at, step.slice(1)));
        else harness.receive('c0', tcp(at, `${vip}:93`, step));
      }
      const own = async () => (await harness.connections()).filter((one) => one.client.port === port);
      expect((await own()).map(({ state }) => state)).toEqual([name]);
      const before = await counted();
      // Round robin over two: a new connection goes to the other one.
      const again = server(tcp(at, `${vip}:93`, 'S'));
      expect(again === first, name).toBe(!anew);
      expect(await counted(), name).toBe(before + (anew ? 1n : 0n));
      expect(await own(), name).toHaveLength(1);
    }
  });

  it('weight 0 serves the connections it has', async () => {
    const at = client();
    const id = serviceId(`tcp ${vip}:92`);
    await harness.apply({
      kind: 'edit-destination',
      id,
      destination: destination('10.1.0.13:92', 'masquerade', 1),
    });
    expect(harness.receive('c0', tcp(at, `${vip}:92`, 'S')).verdict).toBe('redirect');
    await harness.apply({
      kind: 'edit-destination',
      id,
      destination: destination('10.1.0.13:92', 'masquerade', 0),
    });
    const frame = inbound('c0', tcp(at, `${vip}:92`, 'A'));
    const wanted = encode(tcp(at, '10.1.0.13:92', 'A', { ttl: 63 }));
    expect(
      disagreement({ verdict: 'redirect', packet: wanted, way: wayTo('10.1.0.13') }, ingress(frame), frame),
    ).toBeUndefined();
    harness.clearIcmpLimits();
    expect(harness.receive('c0', tcp(client(), `${vip}:92`, 'S'))).toMatchObject({
      verdict: 'redirect',
      mark: 0x48010000,
    });
  });

  it('without Ethernet headers', () => {
    const reference = createReference(plans);
    const at = `8.0.77.1:${++port}`;
    const at6 = `[2001:db8:86dd::5]:${++port}`;
    const steps: readonly [Packet, Packet?][] = [
      [tcp(at, `${vip}:80`, 'S'), tcp(at, '10.1.0.11:8080', 'S', { ttl: 63 })],
      [
        tcp(at, `${vip}:80`, 'AP', { payload: filler(99), ttl: 7 }),
        tcp(at, '10.1.0.11:8080', 'AP', { payload: filler(99), ttl: 6 }),
      ],
      [udp(at, `${vip}:53`, { checksum: false }), udp(at, '10.1.0.12:5353', { checksum: false, ttl: 63 })],
      [udp(at6, `${vip6}:53`), udp(at6, '[fd10::12]:5353', { ttl: 63 })],
      [tcp(at, `${vip}:81`, 'S'), tcp(at, `${vip}:81`, 'S', { ttl: 63 })],
      [tcp(at, `${vip}:9999`, 'S')],
      [udp(at6, `${vip6}:9999`)],
    ];
    for (const [packet, out] of steps) {
      const outcome = harness.receiveRaw(packet);
      expect(outcome.verdict).toBe(out ? 'redirect' : 'pass');
      expect(outcome.bytes.subarray(out ? 14 : 0).toString('hex')).toBe(
        encode(out ?? packet).toString('hex'),
      );
      const bytes = encode(packet);
      expect(disagreement(reference.receive(bytes), outcome, bytes, { raw: true })).toBeUndefined();
    }
  });

  it('replies of a destination on the director are translated where they leave', () => {
    const at = client();
    const at6 = `[2001:db8:c::5]:${++port}`;
    harness.receive('c0', tcp(at, `${vip}:88`, 'S'));
    harness.receive('c0', udp(at6, `${vip6}:88`));
    const steps: readonly [Packet, Packet?][] = [
      [tcp('10.1.0.1:8080', at, 'SA'), tcp(`${vip}:88`, at, 'SA')],
      [
        tcp('10.1.0.1:8080', at, 'AP', { payload: filler(501), ttl: 1 }),
        tcp(`${vip}:88`, at, 'AP', { payload: filler(501), ttl: 1 }),
      ],
      [udp('[fd10::1]:8080', at6), udp(`${vip6}:88`, at6)],
      [tcp('10.1.0.1:8081', at, 'SA')],
      [tcp('192.0.2.1:8080', at, 'SA')],
    ];
    for (const [packet, out] of steps) {
      const frame = outbound('c0', packet);
      const outcome = harness.leave('c0', packet);
      const wanted = encode(out ?? packet);
      expect(disagreement({ verdict: 'pass', packet: wanted }, outcome, frame)).toBeUndefined();
    }
  });

  it('a reply for a client on the director goes to its loopback device', () => {
    const at = `192.0.2.1:${++port}`;
    // The request leaves through lo and comes back in there; lo's address is all zeros.
    const frame = inbound('c0', tcp(at, `${vip}:80`, 'S'));
    frame.fill(0, 0, 12);
    expect(harness.run('headgate_ethernet', frame, { ifindex: 1 }).verdict).toBe('redirect');
    const reply = inbound('r0', tcp('10.1.0.11:8080', at, 'SA'));
    const outcome = harness.run('headgate_ethernet', reply, { ifindex: harness.world.index.r0 });
    const wanted = encode(tcp(`${vip}:80`, at, 'SA'));
    expect(
      disagreement({ verdict: 'redirect', packet: wanted, way: { kind: 'local' } }, outcome, reply),
    ).toBeUndefined();
  });
});
