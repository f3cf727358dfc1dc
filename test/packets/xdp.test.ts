import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pinnedMaps, readObject } from '../../src/dataplane/ebpf/instance.ts';
import { type LoadedObject, loadObject } from '../../src/sys/bpf/load.ts';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { testRunXdp } from '../../src/sys/bpf/test-run.ts';
import { requires } from '../requirements.ts';
import { encode, ethernet, filler, fragments, icmp, mac, type Packet, raw, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { type DeviceName, macs, smallMtu, wayTo } from './world.ts';

/*
 * The fast path at XDP on the tables of the program at tc. What it sends on must be, byte for byte, what the program
 * at tc sends on and what a second encoder says; everything else must pass untouched.
 */

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const real = '10.1.0.11';
const real6 = '[fd10::11]';
const client = '203.0.113.5:40001';
const client6 = '[2001:db8:c::5]:40001';

const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination(`${real}:8080`)),
  servicePlan(`udp ${vip}:53`, 'rr', destination(`${real}:5353`)),
  servicePlan(`tcp ${vip}:81`, 'rr', destination(`${real}:81`, 'direct-routing')),
  servicePlan(`udp ${vip}:82`, 'rr', destination(`${real}:82`, 'direct-routing')),
  servicePlan(`tcp ${vip}:83`, 'rr', destination(`${real}:83`)),
  servicePlan(`tcp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
  servicePlan(`tcp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
  servicePlan(`tcp ${vip6}:80`, 'rr', destination(`${real6}:8080`)),
  servicePlan(`udp ${vip6}:53`, 'rr', destination(`${real6}:5353`)),
  servicePlan(`tcp ${vip6}:81`, 'rr', destination(`${real6}:81`, 'direct-routing')),
];

const verdictNames: Readonly<Record<number, string>> = {
  0: 'aborted',
  1: 'drop',
  2: 'pass',
  3: 'tx',
  4: 'redirect',
};

requires(
  'root',
  'bpf',
  'netns',
)('the fast path at XDP', () => {
  let harness: Harness;
  let loaded: LoadedObject;

  beforeAll(async () => {
    harness = await openHarness('xdp');
    await harness.apply(...additions(plans));
    loaded = loadFastPath(harness);
    for (const device of ['c0', 'r0'] as const) listPort(harness.world.index[device], macs[device].own);
    // Handshakes and first datagrams; every direction twice, so that next hops are known.
    for (const [from, service, there, translated] of [
      [client, `${vip}:80`, `${real}:8080`, true],
      [client, `${vip}:83`, `${real}:83`, true],
      [client, `${vip}:86`, '10.2.0.11:8080', true],
      [client, `${vip}:88`, '10.1.0.1:8080', false],
      [client, `${vip}:81`, `${real}:81`, false],
      [client6, `${vip6}:80`, `${real6}:8080`, true],
      [client6, `${vip6}:81`, `${real6}:81`, false],
    ] as const) {
      harness.receive('c0', tcp(from, service, 'S'));
      if (translated) harness.receive(deviceOf(there), tcp(there, from, 'SA'));
      harness.receive('c0', tcp(from, service, 'A'));
    }
    for (const [from, service, there, translated] of [
      [client, `${vip}:53`, `${real}:5353`, true],
      [client, `${vip}:82`, `${real}:82`, false],
      [client6, `${vip6}:53`, `${real6}:5353`, true],
    ] as const) {
      harness.receive('c0', udp(from, service));
      if (translated) harness.receive('r0', udp(there, from));
    }
  });
  afterAll(async () => {
    loaded?.close();
    await harness?.close();
  });

  const deviceOf = (endpoint: string): DeviceName => (endpoint.includes('10.2.') ? 'm0' : 'r0');

  function listPort(index: number, own: string): void {
    const port = Buffer.alloc(12);
    port.writeUInt32LE(index);
    mac(own).copy(port, 4);
    loaded.maps.ports!.update(index % 256, port);
  }

  function atXdp(device: DeviceName, frame: Uint8Array): { verdict: string; bytes: Buffer } {
    const { fd } = loaded.programs.headgate_xdp!;
    const result = testRunXdp(fd, frame, { ingressIfindex: harness.world.index[device] });
    return { verdict: verdictNames[result.returnValue] ?? String(result.returnValue), bytes: result.data };
  }

  /** A packet at tc and at XDP; tc comes first, and again when it had to look up the next hop. */
  function both(device: DeviceName, packet: Packet) {
    const frame = inbound(device, packet);
    harness.receive(device, packet);
    return { tc: harness.receive(device, packet), xdp: atXdp(device, frame), frame };
  }

  const sent: [name: string, device: DeviceName, packet: Packet, out: Packet, to: string][] = [];
  const inAndOut = (
    name: string,
    make: (from: string, to: string, more?: { ttl: number; tos?: number }) => Packet,
    from: string,
    service: string,
    there: string,
  ) => {
    sent.push([`${name} in`, 'c0', make(from, service), make(from, there, { ttl: 63 }), there]);
    sent.push([`${name} return`, 'r0', make(there, from), make(service, from, { ttl: 63 }), from]);
  };
  const segment = (flags: string, length: number) => (from: string, to: string, more?: { ttl: number }) =>
    tcp(from, to, flags, { payload: filler(length), ...more });
  const datagram = (length: number) => (from: string, to: string, more?: { ttl: number }) =>
    udp(from, to, { payload: filler(length), ...more });
  for (const length of [0, 1, 333, 1460]) {
    inAndOut(`NAT IPv4 TCP, ${length} bytes`, segment('AP', length), client, `${vip}:80`, `${real}:8080`);
  }
  inAndOut('NAT IPv4 TCP, same port', segment('A', 20), client, `${vip}:83`, `${real}:83`);
  inAndOut('NAT IPv4 UDP', datagram(77), client, `${vip}:53`, `${real}:5353`);
  inAndOut('NAT IPv6 TCP', segment('AP', 333), client6, `${vip6}:80`, `${real6}:8080`);
  inAndOut('NAT IPv6 UDP', datagram(78), client6, `${vip6}:53`, `${real6}:5353`);
  const bare = (from: string, to: string, more?: { ttl: number }) =>
    udp(from, to, { checksum: false, ...more });
  inAndOut('NAT IPv4 UDP without checksum', bare, client, `${vip}:53`, `${real}:5353`);
  for (const [name, from, service] of [
    ['IPv4', client, `${vip}:81`],
    ['IPv6', client6, `${vip6}:81`],
  ] as const) {
    const packet = (ttl: number) => tcp(from, service, 'A', { payload: filler(99), ttl, tos: 0x48 });
    const there = service.startsWith('[') ? real6 : real;
    sent.push([`DR ${name} TCP`, 'c0', packet(2), packet(1), `${there}:81`]);
  }
  sent.push(['DR UDP', 'c0', udp(client, `${vip}:82`), udp(client, `${vip}:82`, { ttl: 63 }), `${real}:82`]);

  it.each(sent)('%s: sent on as at tc', (_name, device, packet, out, to) => {
    const { tc, xdp } = both(device, packet);
    expect(tc.verdict).toBe('redirect');
    const way = wayTo(to.replace(/:\d+$/, '').replaceAll(/[[\]]/g, ''));
    if (way.kind !== 'neighbour') throw new Error('wanted a neighbour');
    const wanted = ethernet(encode(out), { to: way.mac, from: macs[way.device].own });
    expect(xdp.bytes.toString('hex')).toBe(wanted.toString('hex'));
    expect(xdp.bytes.toString('hex')).toBe(tc.bytes.toString('hex'));
    expect(xdp.verdict).toBe(way.device === device ? 'tx' : 'redirect');
  });

  it("moves checksums over the two zeros of one's complement as tc does", () => {
    // Tried are payloads that put the checksum near 0 and 0xffff, before or after.
    const reply = (word: number) =>
      udp(`${real}:5353`, client, { payload: Buffer.from([word >> 8, word & 255]) });
    const translated = (word: number) =>
      encode(udp(`${vip}:53`, client, { ttl: 63, payload: Buffer.from([word >> 8, word & 255]) }));
    const near = [encode(reply(0)), translated(0)].flatMap((packet) =>
      [-3, -2, -1, 0, 1, 2].map((wanted) => (packet.readUInt16BE(26) + 0xffff - wanted) % 0xffff),
    );
    let tried = 0;
    for (const word of near) {
      const wanted = translated(word);
      const { tc, xdp } = both('r0', reply(word));
      expect(xdp.verdict).toBe('redirect');
      expect(xdp.bytes.subarray(14).toString('hex')).toBe(wanted.toString('hex'));
      expect(xdp.bytes.toString('hex')).toBe(tc.bytes.toString('hex'));
      const sums = [encode(reply(word)), wanted].map((packet) => packet.readUInt16BE(26));
      if (sums.includes(0xffff)) tried++;
    }
    expect(tried, 'before and after').toBe(2);
  });

  it('counts packets and bytes as tc does', async () => {
    const counters = async () => (await harness.read()).services[0]!.counters;
    const request = tcp(client, `${vip}:80`, 'A', { payload: filler(100) });
    const reply = tcp(`${real}:8080`, client, 'A', { payload: filler(200) });
    harness.receive('c0', request);
    harness.receive('r0', reply);
    const before = await counters();
    expect(atXdp('c0', inbound('c0', request)).verdict).toBe('redirect');
    expect(atXdp('r0', inbound('r0', reply)).verdict).toBe('redirect');
    const after = await counters();
    expect({
      in: after.packetsIn - before.packetsIn,
      out: after.packetsOut - before.packetsOut,
      bytesIn: after.bytesIn - before.bytesIn,
      bytesOut: after.bytesOut - before.bytesOut,
      connections: after.connections - before.connections,
    }).toEqual({ in: 1n, out: 1n, bytesIn: 140n, bytesOut: 240n, connections: 0n });
  });

  const data = (more: Parameters<typeof tcp>[3] = {}) => tcp(client, `${vip}:80`, 'A', more);
  const passed: [name: string, device: DeviceName, packet: () => Packet][] = [
    ['SYN of a new connection', 'c0', () => tcp('203.0.113.6:1', `${vip}:80`, 'S')],
    ['SYN in an established connection', 'c0', () => tcp(client, `${vip}:80`, 'S')],
    ['FIN', 'c0', () => tcp(client, `${vip}:80`, 'FA')],
    ['RST', 'c0', () => tcp(client, `${vip}:80`, 'R')],
    ['FIN from the real server', 'r0', () => tcp(`${real}:8080`, client, 'FA')],
    ['IPv4 options', 'c0', () => data({ options: Uint8Array.from([1, 1, 1, 0]) })],
    ['first fragment', 'c0', () => fragments(data({ payload: filler(3000) }), 1500)[0]!],
    ['later fragment', 'c0', () => fragments(data({ payload: filler(3000) }), 1500)[1]!],
    [
      'IPv6 extension header',
      'c0',
      () =>
        tcp(client6, `${vip6}:80`, 'A', { extensions: [{ kind: 'hop-by-hop', bytes: new Uint8Array(6) }] }),
    ],
    ['TTL 1', 'c0', () => data({ ttl: 1 })],
    ['longer than the MTU behind', 'c0', () => tcp(client, `${vip}:86`, 'A', { payload: filler(smallMtu) })],
    ['a next hop that does not run XDP', 'c0', () => tcp(client, `${vip}:86`, 'A')],
    ['a destination on the director', 'c0', () => tcp(client, `${vip}:88`, 'A')],
    ['a reply that nobody translates', 'r0', () => tcp(`${vip}:81`, client, 'A')],
    ['ACK without connection', 'c0', () => tcp('203.0.113.7:7', `${vip}:80`, 'A')],
    ['no virtual address', 'c0', () => tcp(client, '198.51.100.77:80', 'A')],
    ['ICMP', 'c0', () => icmp('203.0.113.5', vip, { type: 8, code: 0 })],
    ['another protocol', 'c0', () => raw('203.0.113.5', vip, 47)],
  ];
  it.each(passed)('%s: passes untouched', (_name, device, packet) => {
    harness.receive('c0', data());
    const frame = inbound(device, packet());
    const { verdict, bytes } = atXdp(device, frame);
    expect(verdict).toBe('pass');
    expect(bytes.toString('hex')).toBe(frame.toString('hex'));
  });

  describe('passes untouched what it cannot be sure of:', () => {
    const good = () => inbound('c0', data({ payload: filler(40) }));
    const untouched = (frame: Buffer, device: DeviceName = 'c0') => {
      const { verdict, bytes } = atXdp(device, frame);
      expect(verdict).toBe('pass');
      expect(bytes.toString('hex')).toBe(frame.toString('hex'));
    };
    it('a good packet is sent on, else the rest proves nothing', () => {
      expect(both('c0', data({ payload: filler(40) })).xdp.verdict).toBe('redirect');
    });
    it('a frame to another MAC address', () => {
      const frame = good();
      frame[5] = frame[5]! ^ 1;
      untouched(frame);
    });
    it('a device that is not listed', () => {
      untouched(inbound('m0', data({ payload: filler(40) })), 'm0');
    });
    it('a VLAN tag', () => {
      const frame = good();
      untouched(Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0, 0, 5]), frame.subarray(12)]));
    });
    it('every length at which a packet can be cut off', () => {
      const whole = good();
      for (let length = 14; length < whole.length; length++) untouched(whole.subarray(0, length));
    });
    it('a next hop that is a second old', async () => {
      await new Promise((resolve) => setTimeout(resolve, 1300));
      untouched(good());
      expect(both('c0', data({ payload: filler(40) })).xdp.verdict).toBe('redirect');
    });
    it('a destination that was deleted', async () => {
      const { id } = plans[4]!.service;
      const before = tcp(client, `${vip}:83`, 'A');
      expect(both('c0', before).xdp.verdict).toBe('redirect');
      await harness.apply({ kind: 'delete-destination', id, destination: destination(`${real}:83`) });
      untouched(inbound('c0', before));
      expect(harness.receive('c0', before).verdict).toBe('drop');
    });
  });
});

/** The program over the harness's maps; `ports` is its own. */
function loadFastPath({ instance }: Harness): LoadedObject {
  const shared = pinnedMaps.filter((name) => (name as string) !== 'ports');
  const size = instance.map('connections').maxEntries - 1;
  return loadObject(parseObject(readObject()), {
    maps: Object.fromEntries(shared.map((name) => [name, { fd: instance.map(name).fd }])),
    variables: {
      connection_limit: size,
      bucket_mask: instance.map('buckets').maxEntries * 16 - 1,
      slice_count: instance.map('slices').maxEntries,
    },
    programs: ['headgate_xdp'],
  });
}
