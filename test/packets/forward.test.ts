import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { disagreement } from './agreement.ts';
import { encode, filler, type Packet, raw, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { createReference, type Expected, type Reference, type Report } from './reference.ts';
import { additions, destination, servicePlan } from './services.ts';
import { type DeviceName, smallMtu, wayTo } from './world.ts';

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';

const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.12:5353')),
  servicePlan(`tcp ${vip6}:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::12]:5353')),
  servicePlan(`tcp ${vip}:81`, 'rr', destination('10.1.0.11:81', 'direct-routing')),
  servicePlan(`udp ${vip}:82`, 'rr', destination('10.1.0.12:82', 'direct-routing')),
  servicePlan(`tcp ${vip6}:81`, 'rr', destination('[fd10::11]:81', 'direct-routing')),
  servicePlan(`udp ${vip6}:82`, 'rr', destination('[fd10::12]:82', 'direct-routing')),
  servicePlan(`tcp ${vip}:83`, 'rr', destination('10.1.0.11:83')),
  servicePlan(`tcp ${vip}:84`, 'rr', destination('10.1.0.13:84', 'masquerade', 0)),
  servicePlan(`tcp ${vip}:85`, 'rr'),
  servicePlan(`tcp ${vip}:86`, 'rr', destination('10.2.0.11:8080')),
  servicePlan(`tcp ${vip6}:86`, 'rr', destination('[fd20::11]:8080')),
  servicePlan(`tcp ${vip}:87`, 'rr', destination('10.66.0.1:80')),
  servicePlan(`tcp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
  servicePlan(`tcp ${vip6}:88`, 'rr', destination('[fd10::1]:8080')),
  servicePlan(`tcp ${vip}:89`, 'rr', destination('10.1.0.1:89', 'direct-routing')),
  servicePlan('tcp 198.51.100.99:80', 'rr', destination('10.1.0.11:8080')),
  servicePlan('tcp [2001:db8:100::99]:80', 'rr', destination('[fd10::11]:8080')),
  servicePlan(`tcp ${vip}:90`, 'rr', destination('10.1.0.14:90')),
  servicePlan(`tcp ${vip}:91`, 'rr', destination('10.1.0.15:8080')),
  servicePlan('tcp 198.51.100.20:91', 'rr', destination('10.1.0.15:8080')),
  servicePlan(`udp ${vip}:92`, 'rr', destination('10.2.0.12:5353')),
];

type In = readonly [device: DeviceName, packet: Packet];
type Row = {
  readonly name: string;
  /** What went before; what becomes of it is not looked at. */
  readonly before?: readonly In[];
  readonly in: In;
} & (
  | { readonly verdict: 'pass' | 'drop'; readonly out?: Packet }
  | { readonly verdict: 'redirect'; readonly out: Packet }
  | {
      readonly verdict: 'report';
      readonly report: Report;
    }
);

/** A row's client: rows share the table, not their connections. */
let port = 20_000;
const client = () => `203.0.113.5:${++port}`;
const client6 = () => `[2001:db8:c::5]:${++port}`;

function rows(): Row[] {
  const list: Row[] = [];
  const row = (one: Row) => list.push(one);
  const services = [
    { kind: 'NAT IPv4 TCP', from: client, make: tcp, service: `${vip}:80`, real: '10.1.0.11:8080' },
    { kind: 'NAT IPv6 TCP', from: client6, make: tcp, service: `${vip6}:80`, real: '[fd10::11]:8080' },
  ];
  for (const { kind, from, make, service, real } of services) {
    const at = from();
    const syn: In = ['c0', make(at, service, 'S')];
    row({ name: `${kind} in: SYN`, in: syn, verdict: 'redirect', out: make(at, real, 'S', { ttl: 63 }) });
    row({
      name: `${kind} in: data, odd length, TCP options`,
      in: ['c0', make(at, service, 'AP', { payload: filler(333), tcpOptions: filler(12), tos: 0x48 })],
      verdict: 'redirect',
      out: make(at, real, 'AP', { payload: filler(333), tcpOptions: filler(12), tos: 0x48, ttl: 63 }),
    });
    row({
      name: `${kind} out: SYN+ACK`,
      in: ['r0', make(real, at, 'SA')],
      verdict: 'redirect',
      out: make(service, at, 'SA', { ttl: 63 }),
    });
    row({
      name: `${kind} out: TTL 1`,
      in: ['r0', make(real, at, 'A', { ttl: 1 })],
      verdict: 'report',
      report: { kind: 'time-exceeded', mtu: 0 },
    });
    row({
      name: `${kind} in: TTL 1`,
      in: ['c0', make(at, service, 'A', { ttl: 1 })],
      verdict: 'report',
      report: { kind: 'time-exceeded', mtu: 0 },
    });
    row({
      name: `${kind} in: TTL 2`,
      in: ['c0', make(at, service, 'A', { ttl: 2 })],
      verdict: 'redirect',
      out: make(at, real, 'A', { ttl: 1 }),
    });
  }
  for (const { kind, from, service, real } of [
    { kind: 'NAT IPv4 UDP', from: client, service: `${vip}:53`, real: '10.1.0.12:5353' },
    { kind: 'NAT IPv6 UDP', from: client6, service: `${vip6}:53`, real: '[fd10::12]:5353' },
  ]) {
    const at = from();
    row({
      name: `${kind} in`,
      in: ['c0', udp(at, service)],
      verdict: 'redirect',
      out: udp(at, real, { ttl: 63 }),
    });
    row({
      name: `${kind} out`,
      in: ['r0', udp(real, at)],
      verdict: 'redirect',
      out: udp(service, at, { ttl: 63 }),
    });
    row({
      name: `${kind} in: without a checksum`,
      in: ['c0', udp(at, service, { checksum: false })],
      verdict: 'redirect',
      out: udp(at, real, { checksum: false, ttl: 63 }),
    });
    row({
      name: `${kind} out: without a checksum`,
      in: ['r0', udp(real, at, { checksum: false })],
      verdict: 'redirect',
      out: udp(service, at, { checksum: false, ttl: 63 }),
    });
    // The payload word makes the sum after translation 0xffff, so the checksum would be 0, which means "none".
    const zero = payloadForChecksum(0xffff, (payload) => udp(at, real, { payload, ttl: 63 }));
    row({
      name: `${kind} in: a checksum that becomes 0 is sent as 0xffff (RFC 768)`,
      in: ['c0', udp(at, service, { payload: zero })],
      verdict: 'redirect',
      out: udp(at, real, { payload: zero, ttl: 63 }),
    });
    row({
      name: `${kind} in: no payload`,
      in: ['c0', udp(at, service, { payload: filler(0) })],
      verdict: 'redirect',
      out: udp(at, real, { payload: filler(0), ttl: 63 }),
    });
  }
  for (const { kind, from, service } of [
    { kind: 'DR IPv4', from: client, service: vip },
    { kind: 'DR IPv6', from: client6, service: vip6 },
  ]) {
    const at = from();
    row({
      name: `${kind} TCP in`,
      in: ['c0', tcp(at, `${service}:81`, 'S')],
      verdict: 'redirect',
      out: tcp(at, `${service}:81`, 'S', { ttl: 63 }),
    });
    row({
      name: `${kind} UDP in`,
      in: ['c0', udp(at, `${service}:82`)],
      verdict: 'redirect',
      out: udp(at, `${service}:82`, { ttl: 63 }),
    });
    row({
      name: `${kind} TCP in: TTL 1`,
      in: ['c0', tcp(at, `${service}:81`, 'A', { ttl: 1 })],
      verdict: 'report',
      report: { kind: 'time-exceeded', mtu: 0 },
    });
    row({
      name: `${kind} out: a reply that passes through is left alone`,
      in: ['r0', tcp(`${service}:81`, at, 'SA')],
      verdict: 'pass',
    });
  }
  optionRows(row);
  refusedRows(row);
  untouchedRows(row);
  sizeRows(row);
  localRows(row);
  reuseRows(row);
  sharedRows(row);
  return list;
}

/** Two bytes of payload with which a datagram's checksum is the wanted one (RFC 1071: sums modulo 0xffff). */
function payloadForChecksum(wanted: number, make: (payload: Uint8Array) => Packet): Uint8Array {
  const payloadOf = (word: number) => Buffer.from([word >> 8, word & 0xff, 7, 7]);
  const checksumWith = (payload: Uint8Array) => {
    const bytes = encode(make(payload));
    return bytes.readUInt16BE(bytes.length - payload.length - 2);
  };
  const payload = payloadOf((checksumWith(payloadOf(0)) + 0xffff - wanted) % 0xffff);
  if (checksumWith(payload) === wanted) return payload;
  throw new Error('find a payload: there is none');
}

function optionRows(row: (one: Row) => void): void {
  const at = client();
  const options = Buffer.from([7, 7, 4, 0, 0, 0, 0, 1, 1, 1, 1, 0]); // record route, three NOPs, end
  row({
    name: 'IPv4 options stay',
    in: ['c0', tcp(at, `${vip}:80`, 'S', { options })],
    verdict: 'redirect',
    out: tcp(at, '10.1.0.11:8080', 'S', { options, ttl: 63 }),
  });
  row({
    name: 'IPv4 options stay on replies',
    in: ['r0', tcp('10.1.0.11:8080', at, 'SA', { options })],
    verdict: 'redirect',
    out: tcp(`${vip}:80`, at, 'SA', { options, ttl: 63 }),
  });
  const at6 = client6();
  const extensions = [
    { kind: 'hop-by-hop' as const, bytes: Buffer.from([1, 4, 0, 0, 0, 0]) },
    { kind: 'destination' as const, bytes: Buffer.from([1, 12, ...filler(12)]) },
    { kind: 'destination' as const, bytes: Buffer.from([1, 4, 0, 0, 0, 0]) },
  ];
  row({
    name: 'IPv6 extension headers stay',
    in: ['c0', udp(at6, `${vip6}:53`, { extensions })],
    verdict: 'redirect',
    out: udp(at6, '[fd10::12]:5353', { extensions, ttl: 63 }),
  });
  row({
    name: 'IPv6 atomic fragment is a whole packet (RFC 6946)',
    in: ['c0', udp(at6, `${vip6}:53`, { fragment: { offset: 0, more: false } })],
    verdict: 'redirect',
    out: udp(at6, '[fd10::12]:5353', { fragment: { offset: 0, more: false }, ttl: 63 }),
  });
}

function refusedRows(row: (one: Row) => void): void {
  row({
    name: 'weight 0: no destination',
    in: ['c0', tcp(client(), `${vip}:84`, 'S')],
    verdict: 'report',
    report: { kind: 'port-unreachable', mtu: 0 },
  });
  row({
    name: 'a service without destinations',
    in: ['c0', tcp(client(), `${vip}:85`, 'S')],
    verdict: 'report',
    report: { kind: 'port-unreachable', mtu: 0 },
  });
  row({ name: 'an unreachable destination', in: ['c0', tcp(client(), `${vip}:87`, 'S')], verdict: 'drop' });
}

function untouchedRows(row: (one: Row) => void): void {
  const pass = (name: string, packet: Packet, device: DeviceName = 'c0') =>
    row({ name, in: [device, packet], verdict: 'pass' });
  pass('virtual address, port without a service', tcp(client(), `${vip}:9999`, 'S'));
  pass('virtual address and port, other protocol', udp(client(), `${vip}:80`));
  pass('another address', tcp(client(), '192.0.2.1:80', 'S'));
  pass('a virtual address that is not on this director', tcp(client(), '198.51.100.99:80', 'S'));
  pass('an IPv6 virtual address that is not on this director', tcp(client6(), '[2001:db8:100::99]:80', 'S'));
  pass('no SYN and no connection: ACK', tcp(client(), `${vip}:80`, 'A'));
  pass('no SYN and no connection: FIN+ACK', tcp(client(), `${vip}:80`, 'FA'));
  pass('no SYN and no connection: RST', tcp(client(), `${vip}:80`, 'R'));
  pass('SYN+RST opens nothing', tcp(client(), `${vip}:80`, 'SR'));
  pass('source port 20 opens nothing: TCP', tcp('203.0.113.6:20', `${vip}:80`, 'S'));
  pass('source port 20 opens nothing: UDP', udp('203.0.113.6:20', `${vip}:53`));
  pass('from a real server, no connection', tcp('10.1.0.11:8080', '203.0.113.77:1234', 'SA'), 'r0');
  pass('from a real server, other port', tcp('10.1.0.11:22', '203.0.113.77:1234', 'SA'), 'r0');
  pass('SCTP to a port without a service', raw('203.0.113.5', vip, 132, { payload: filler(40) }));
  pass('ESP', raw('203.0.113.5', vip, 50, { payload: filler(40) }));
  pass(
    'ICMP echo request to a virtual address',
    raw('203.0.113.5', vip, 1, { payload: Buffer.from('0800f7ff00000000', 'hex') }),
  );
  pass('TCP header cut short', raw('203.0.113.5', vip, 6, { payload: filler(19) }));
  pass('UDP header cut short', raw('203.0.113.5', vip, 17, { payload: filler(7) }));
  pass('no transport header at all', raw('203.0.113.5', vip, 6, { payload: filler(0) }));
  for (const source of ['0.0.0.1', '127.0.0.1', '224.0.0.5', '255.255.255.255', vip]) {
    pass(`no connection from ${source}`, udp(`${source}:1234`, `${vip}:53`));
  }
  for (const source of ['::', '::1', 'ff02::1', '2001:db8:100::10']) {
    pass(`no connection from ${source}`, udp(`[${source}]:1234`, `${vip6}:53`));
  }
  const at = client();
  row({
    name: 'SYN+ACK opens a connection (active FTP)',
    in: ['c0', tcp(at, `${vip}:80`, 'SA')],
    verdict: 'redirect',
    out: tcp(at, '10.1.0.11:8080', 'SA', { ttl: 63 }),
  });
}

function sizeRows(row: (one: Row) => void): void {
  const at = client();
  const fits = filler(smallMtu - 40);
  const over = filler(smallMtu - 39);
  row({
    name: 'just fits the next hop',
    before: [['c0', tcp(at, `${vip}:86`, 'S')]],
    in: ['c0', tcp(at, `${vip}:86`, 'A', { payload: fits, doNotFragment: true })],
    verdict: 'redirect',
    out: tcp(at, '10.2.0.11:8080', 'A', { payload: fits, doNotFragment: true, ttl: 63 }),
  });
  row({
    name: 'one byte too big, DF',
    in: ['c0', tcp(at, `${vip}:86`, 'A', { payload: over, doNotFragment: true })],
    verdict: 'report',
    report: { kind: 'too-big', mtu: smallMtu },
  });
  row({
    name: 'one byte too big, without DF: to be fragmented',
    in: ['c0', tcp(at, `${vip}:86`, 'A', { payload: over })],
    verdict: 'report',
    report: { kind: 'fragmentation', mtu: 0 },
  });
  const at6 = client6();
  const fits6 = filler(smallMtu - 60);
  row({
    name: 'IPv6: just fits',
    before: [['c0', tcp(at6, `${vip6}:86`, 'S')]],
    in: ['c0', tcp(at6, `${vip6}:86`, 'A', { payload: fits6 })],
    verdict: 'redirect',
    out: tcp(at6, '[fd20::11]:8080', 'A', { payload: fits6, ttl: 63 }),
  });
  row({
    name: 'IPv6: one byte too big',
    in: ['c0', tcp(at6, `${vip6}:86`, 'A', { payload: filler(smallMtu - 59) })],
    verdict: 'report',
    report: { kind: 'too-big', mtu: smallMtu },
  });
  // The way to a client in 10.2.0.0/24 leads through the small MTU.
  const near = `10.2.0.13:${++port}`;
  row({
    name: "a reply too big for the client's side, DF",
    before: [['m0', tcp(near, `${vip}:80`, 'S')]],
    in: ['r0', tcp('10.1.0.11:8080', near, 'A', { payload: over, doNotFragment: true })],
    verdict: 'report',
    report: { kind: 'too-big', mtu: smallMtu },
  });
}

function localRows(row: (one: Row) => void): void {
  const at = client();
  row({
    name: 'a destination on the director: translated, handed on',
    in: ['c0', tcp(at, `${vip}:88`, 'S')],
    verdict: 'pass',
    out: tcp(at, '10.1.0.1:8080', 'S'),
  });
  const at6 = client6();
  row({
    name: 'IPv6: a destination on the director',
    in: ['c0', tcp(at6, `${vip6}:88`, 'S')],
    verdict: 'pass',
    out: tcp(at6, '[fd10::1]:8080', 'S'),
  });
  row({
    name: 'a destination on the director: TTL does not matter',
    in: ['c0', tcp(at, `${vip}:88`, 'A', { ttl: 1 })],
    verdict: 'pass',
    out: tcp(at, '10.1.0.1:8080', 'A', { ttl: 1 }),
  });
  row({
    name: 'direct routing to the director: untouched',
    in: ['c0', tcp(client(), `${vip}:89`, 'S')],
    verdict: 'pass',
  });
}

function reuseRows(row: (one: Row) => void): void {
  const at = client();
  const open: In[] = [
    ['c0', tcp(at, `${vip}:83`, 'S')],
    ['r0', tcp('10.1.0.11:83', at, 'SA')],
    ['c0', tcp(at, `${vip}:83`, 'A')],
  ];
  const again = {
    in: ['c0', tcp(at, `${vip}:83`, 'S')] as In,
    verdict: 'redirect' as const,
    out: tcp(at, '10.1.0.11:83', 'S', { ttl: 63 }),
  };
  row({ ...again, name: 'SYN on ESTABLISHED stays with its connection', before: open });
  row({
    ...again,
    name: 'SYN on CLOSE opens a new connection',
    before: [...open, ['c0', tcp(at, `${vip}:83`, 'R')]],
  });
  row({
    ...again,
    name: 'SYN on TIME_WAIT opens a new connection',
    before: [...open, ['c0', tcp(at, `${vip}:83`, 'FA')], ['r0', tcp('10.1.0.11:83', at, 'FA')]],
  });
}

/** One client address and port, two services, one masqueraded real server: replies belong to the newer one. */
function sharedRows(row: (one: Row) => void): void {
  const at = client();
  const first: In = ['c0', tcp(at, `${vip}:91`, 'S')];
  const second: In = ['c0', tcp(at, '198.51.100.20:91', 'S')];
  const answer: In = ['r0', tcp('10.1.0.15:8080', at, 'SA')];
  row({
    name: 'shared real server: the first service alone',
    before: [first],
    in: answer,
    verdict: 'redirect',
    out: tcp(`${vip}:91`, at, 'SA', { ttl: 63 }),
  });
  row({
    name: 'shared real server: requests of both go there',
    before: [],
    in: second,
    verdict: 'redirect',
    out: tcp(at, '10.1.0.15:8080', 'S', { ttl: 63 }),
  });
  row({
    name: 'shared real server: the newest gets the replies',
    before: [first],
    in: answer,
    verdict: 'redirect',
    out: tcp('198.51.100.20:91', at, 'SA', { ttl: 63 }),
  });
}

requires(
  'root',
  'netns',
  'bpf',
)('one packet in, verdict and packet out', () => {
  let harness: Harness;
  let reference: Reference;
  beforeAll(async () => {
    harness = await openHarness('forward');
    await harness.apply(...additions(plans));
    reference = createReference(plans);
  });
  afterAll(() => harness.close());

  const receive = ([device, packet]: In) => {
    const frame = inbound(device, packet);
    return {
      frame,
      outcome: harness.receive(device, packet),
      expected: reference.receiveFrame(device, frame),
    };
  };
  const wantedOf = (one: Row): Expected => {
    const packet = encode('out' in one && one.out ? one.out : one.in[1]);
    if (one.verdict === 'report') return { verdict: 'report', packet, report: one.report };
    if (one.verdict !== 'redirect') return { verdict: one.verdict, packet };
    const target = one.in[0] === 'r0' || !isDirect(one.in[1]) ? one.out.destination : '10.1.0.11';
    return { verdict: 'redirect', packet, way: directWay(one) ?? wayTo(target) };
  };

  it.each(rows())('$name', (one) => {
    for (const packet of one.before ?? []) receive(packet);
    harness.clearIcmpLimits();
    const { frame, outcome, expected } = receive(one.in);
    expect(disagreement(wantedOf(one), outcome, frame)).toBeUndefined();
    expect(disagreement(expected, outcome, frame), 'the reference').toBeUndefined();
  });
});

/** Direct routing leaves the address: the way is that to the real server. */
function directWay({ in: [device, packet] }: Row) {
  if (device !== 'c0' || !isDirect(packet)) return undefined;
  const number = packet.body.kind === 'udp' ? 12 : 11;
  return wayTo(packet.source.includes(':') ? `fd10::${number}` : `10.1.0.${number}`);
}

function isDirect({ body }: Packet): boolean {
  return (body.kind === 'tcp' || body.kind === 'udp') && [81, 82].includes(body.destinationPort);
}
