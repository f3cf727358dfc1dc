import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { disagreement } from './agreement.ts';
import { decode, encode, filler, icmp, type Packet, sum16, tcp, transportSum, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { createReference, type Expected, type Reference } from './reference.ts';
import { additions, destination, at as endpointOf, serviceId, servicePlan } from './services.ts';
import { type DeviceName, wayTo } from './world.ts';

const vip = '198.51.100.10';
const vip6 = '2001:db8:100::10';
const client = '203.0.113.5';
const client6 = '2001:db8:c::5';

const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.12:5353')),
  servicePlan(`tcp [${vip6}]:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`udp [${vip6}]:53`, 'rr', destination('[fd10::12]:5353')),
  servicePlan(`udp ${vip}:82`, 'rr', destination('10.1.0.12:82', 'direct-routing')),
  servicePlan(`udp ${vip}:90`, 'rr', destination('10.1.0.14:90')),
  servicePlan(`udp ${vip}:88`, 'rr', destination('10.1.0.1:8080')),
];

/** The start of a packet as an ICMP error quotes it. */
const quote = (packet: Packet, length = 28): Buffer => encode(packet).subarray(0, length);

/** The same, translated: what is behind the ports stays as it was quoted, the transport checksum too. */
function translatedQuote(quoted: Packet, translated: Packet, length = 28): Buffer {
  const bytes = quote(quoted, length);
  const header = quoted.source.includes(':') ? 40 : 20 + (quoted.options?.length ?? 0);
  bytes.set(quote(translated, header + 4));
  return bytes;
}

type Row = {
  readonly name: string;
  readonly in: readonly [DeviceName, Packet];
  readonly verdict: 'pass' | 'drop' | 'redirect';
  readonly out?: Packet;
  /** Where it goes, if not to the address in `out`. */
  readonly to?: string;
};

const unreachable = { type: 3, code: 3 };
const needFragments = { type: 3, code: 4, rest: 1400 };
const exceeded = { type: 11, code: 0 };
const unreachable6 = { type: 1, code: 4 };
const tooBig6 = { type: 2, code: 0, rest: 1280 };
const down = { ttl: 63 };

const web = { client: `${client}:1001`, virtual: `${vip}:80`, real: '10.1.0.11:8080' };
const dns = { client: `${client}:1002`, virtual: `${vip}:53`, real: '10.1.0.12:5353' };
const web6 = { client: `[${client6}]:1001`, virtual: `[${vip6}]:80`, real: '[fd10::11]:8080' };
const dns6 = { client: `[${client6}]:1002`, virtual: `[${vip6}]:53`, real: '[fd10::12]:5353' };
const options = Buffer.from([7, 7, 4, 0, 0, 0, 0, 0]);

const opened: readonly [DeviceName, Packet][] = [
  ['c0', tcp(web.client, web.virtual, 'S')],
  ['c0', udp(dns.client, dns.virtual)],
  ['c0', tcp(web6.client, web6.virtual, 'S')],
  ['c0', udp(dns6.client, dns6.virtual)],
  ['c0', udp(`${client}:1003`, `${vip}:82`)],
  ['c0', udp(`${client}:1004`, `${vip}:90`)],
  ['c0', udp(`${client}:1005`, `${vip}:88`)],
];

const rows: Row[] = [
  {
    name: 'from the client, about a UDP reply: to the real server',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, dns.client)) })],
    verdict: 'redirect',
    out: icmp(
      client,
      '10.1.0.12',
      { ...unreachable, payload: translatedQuote(udp(dns.virtual, dns.client), udp(dns.real, dns.client)) },
      down,
    ),
  },
  {
    name: 'from a router on the way to the client, fragmentation needed, about a TCP reply, quoted at length',
    in: [
      'c0',
      icmp('192.0.2.77', vip, {
        ...needFragments,
        payload: quote(tcp(web.virtual, web.client, 'A', { payload: filler(600) }), 500),
      }),
    ],
    verdict: 'redirect',
    out: icmp(
      '192.0.2.77',
      '10.1.0.11',
      {
        ...needFragments,
        payload: translatedQuote(
          tcp(web.virtual, web.client, 'A', { payload: filler(600) }),
          tcp(web.real, web.client, 'A', { payload: filler(600) }),
          500,
        ),
      },
      down,
    ),
  },
  {
    name: 'about a reply with IPv4 options',
    in: [
      'c0',
      icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, dns.client, { options }), 36) }),
    ],
    verdict: 'redirect',
    out: icmp(
      client,
      '10.1.0.12',
      {
        ...unreachable,
        payload: translatedQuote(
          udp(dns.virtual, dns.client, { options }),
          udp(dns.real, dns.client, { options }),
          36,
        ),
      },
      down,
    ),
  },
  {
    name: 'from the real server, about a request: to the client, as if from the virtual address',
    in: ['r0', icmp('10.1.0.12', client, { ...unreachable, payload: quote(udp(dns.client, dns.real)) })],
    verdict: 'redirect',
    out: icmp(
      vip,
      client,
      { ...unreachable, payload: translatedQuote(udp(dns.client, dns.real), udp(dns.client, dns.virtual)) },
      down,
    ),
  },
  {
    name: 'from a router before the real server, time exceeded',
    in: [
      'r0',
      icmp('10.1.0.99', client, { ...exceeded, payload: quote(tcp(web.client, web.real, 'S', { ttl: 1 })) }),
    ],
    verdict: 'redirect',
    out: icmp(
      vip,
      client,
      {
        ...exceeded,
        payload: translatedQuote(
          tcp(web.client, web.real, 'S', { ttl: 1 }),
          tcp(web.client, web.virtual, 'S', { ttl: 1 }),
        ),
      },
      down,
    ),
  },
  {
    name: 'IPv6, from the client, about a UDP reply',
    in: ['c0', icmp(client6, vip6, { ...unreachable6, payload: quote(udp(dns6.virtual, dns6.client), 48) })],
    verdict: 'redirect',
    out: icmp(
      client6,
      'fd10::12',
      {
        ...unreachable6,
        payload: translatedQuote(udp(dns6.virtual, dns6.client), udp(dns6.real, dns6.client), 48),
      },
      down,
    ),
  },
  {
    name: 'IPv6, packet too big, from a router, about a TCP reply, odd length',
    in: [
      'c0',
      icmp('2001:db8:77::1', vip6, {
        ...tooBig6,
        payload: quote(tcp(web6.virtual, web6.client, 'A', { payload: filler(700) }), 701),
      }),
    ],
    verdict: 'redirect',
    out: icmp(
      '2001:db8:77::1',
      'fd10::11',
      {
        ...tooBig6,
        payload: translatedQuote(
          tcp(web6.virtual, web6.client, 'A', { payload: filler(700) }),
          tcp(web6.real, web6.client, 'A', { payload: filler(700) }),
          701,
        ),
      },
      down,
    ),
  },
  {
    name: 'IPv6, from the real server, about a request',
    in: [
      'r0',
      icmp('fd10::12', client6, { ...unreachable6, payload: quote(udp(dns6.client, dns6.real), 48) }),
    ],
    verdict: 'redirect',
    out: icmp(
      vip6,
      client6,
      {
        ...unreachable6,
        payload: translatedQuote(udp(dns6.client, dns6.real), udp(dns6.client, dns6.virtual), 48),
      },
      down,
    ),
  },
  {
    name: 'direct routing: about a reply the director never saw, to the real server',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(`${vip}:82`, `${client}:1003`)) })],
    verdict: 'redirect',
    out: icmp(client, vip, { ...unreachable, payload: quote(udp(`${vip}:82`, `${client}:1003`)) }, down),
    to: '10.1.0.12',
  },
  {
    name: 'to a destination on the director: translated, handed on',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(`${vip}:88`, `${client}:1005`)) })],
    verdict: 'pass',
    out: icmp(client, '10.1.0.1', {
      ...unreachable,
      payload: translatedQuote(udp(`${vip}:88`, `${client}:1005`), udp('10.1.0.1:8080', `${client}:1005`)),
    }),
  },
  {
    name: 'with TTL 1: dropped',
    in: [
      'c0',
      icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, dns.client)) }, { ttl: 1 }),
    ],
    verdict: 'drop',
  },
  {
    name: 'about a connection there is none of',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, `${client}:4444`)) })],
    verdict: 'pass',
  },
  {
    name: 'about another protocol',
    in: [
      'c0',
      icmp(client, vip, { ...unreachable, payload: quote(icmp(vip, client, { type: 8, code: 0 })) }),
    ],
    verdict: 'pass',
  },
  {
    name: 'about a later fragment',
    in: [
      'c0',
      icmp(client, vip, {
        ...exceeded,
        payload: quote(udp(dns.virtual, dns.client, { fragment: { offset: 1480, more: false } })),
      }),
    ],
    verdict: 'pass',
  },
  {
    name: 'whose quote is cut before the ports',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, dns.client), 23) })],
    verdict: 'pass',
  },
  {
    name: 'whose quote has just the ports',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(dns.virtual, dns.client), 24) })],
    verdict: 'redirect',
    out: icmp(
      client,
      '10.1.0.12',
      {
        ...unreachable,
        payload: translatedQuote(udp(dns.virtual, dns.client), udp(dns.real, dns.client), 24),
      },
      down,
    ),
  },
  {
    name: 'that quotes the other family',
    in: ['c0', icmp(client, vip, { ...unreachable, payload: quote(udp(dns6.virtual, dns6.client), 48) })],
    verdict: 'pass',
  },
  {
    name: 'redirects are no errors of ours',
    in: ['c0', icmp(client, vip, { type: 5, code: 1, payload: quote(udp(dns.virtual, dns.client)) })],
    verdict: 'pass',
  },
  {
    name: 'parameter problems are not followed (ip_vs_in_icmp)',
    in: ['c0', icmp(client, vip, { type: 12, code: 0, payload: quote(udp(dns.virtual, dns.client)) })],
    verdict: 'pass',
  },
  {
    name: 'echo requests pass',
    in: ['c0', icmp(client, vip, { type: 8, code: 0, payload: quote(udp(dns.virtual, dns.client)) })],
    verdict: 'pass',
  },
  {
    name: 'IPv6 echo requests pass',
    in: [
      'c0',
      icmp(client6, vip6, { type: 128, code: 0, payload: quote(udp(dns6.virtual, dns6.client), 48) }),
    ],
    verdict: 'pass',
  },
];

const tunnels = (
  [
    { tunnel: { type: 'ipip', port: 0, checksum: 'none' }, shim: 0 },
    { tunnel: { type: 'gue', port: 6080, checksum: 'none' }, shim: 12 },
    { tunnel: { type: 'gue', port: 6080, checksum: 'checksum' }, shim: 12 },
    { tunnel: { type: 'gre', port: 0, checksum: 'none' }, shim: 4 },
    { tunnel: { type: 'gre', port: 0, checksum: 'checksum' }, shim: 8 },
  ] as const
).flatMap((kind, n) =>
  ([4, 6] as const).flatMap((inner) =>
    ([4, 6] as const).map((outer) => ({
      ...kind,
      inner,
      outer,
      port: 100 + 10 * n + outer,
      name: `${kind.tunnel.type}, ${kind.tunnel.checksum}: IPv${inner} in IPv${outer}`,
    })),
  ),
);

requires(
  'root',
  'netns',
  'bpf',
)('ICMP about forwarded connections', () => {
  let harness: Harness;
  let reference: Reference;
  beforeAll(async () => {
    harness = await openHarness('icmp');
    await harness.apply(...additions(plans));
    reference = createReference(plans);
    for (const [device, packet] of opened) {
      harness.receive(device, packet);
      reference.receiveFrame(device, inbound(device, packet));
    }
  });
  afterAll(() => harness?.close());

  it.each(rows)('$name', (row) => {
    const [device, packet] = row.in;
    const frame = inbound(device, packet);
    const outcome = harness.receive(device, packet);
    const bytes = encode(row.out ?? packet);
    const wanted: Expected =
      row.verdict === 'redirect'
        ? { verdict: 'redirect', packet: bytes, way: wayTo(row.to ?? row.out!.destination) }
        : { verdict: row.verdict, packet: bytes };
    expect(disagreement(wanted, outcome, frame)).toBeUndefined();
    expect(
      disagreement(reference.receiveFrame(device, frame), outcome, frame),
      'the reference',
    ).toBeUndefined();
  });

  it('does not restart timers or change states', async () => {
    const [device, packet] = rows[0]!.in;
    const before = (await harness.connections()).map(({ client: at, state, active }) => ({
      at,
      state,
      active,
    }));
    harness.receive(device, packet);
    const after = (await harness.connections()).map(({ client: at, state, active }) => ({
      at,
      state,
      active,
    }));
    expect(after).toEqual(before);
    expect(before).toHaveLength(opened.length);
  });

  it.each(tunnels)('through a tunnel, to who has it: $name', async ({ inner, outer, tunnel, shim, port }) => {
    const from = { 4: client, 6: client6 }[inner];
    const to = { 4: vip, 6: vip6 }[inner];
    const ends = { 4: ['10.1.0.1', '10.1.0.15'], 6: ['fd10::1', 'fd10::15'] }[outer] as [string, string];
    const [virtual, sender] = [endpointOf(to, port), endpointOf(from, 1006)];
    await harness.apply(
      ...additions([
        servicePlan(`udp ${virtual}`, 'rr', {
          ...destination(endpointOf(ends[1], port), 'tunnel'),
          tunnel,
        }),
      ]),
    );
    expect(harness.receive('c0', udp(sender, virtual)).verdict).toBe('redirect');
    const said = inner === 4 ? needFragments : tooBig6;
    const error = icmp(from, to, { ...said, payload: quote(udp(virtual, sender), 51) }, { ttl: 9 });
    const turn = harness.receive('c0', error);
    expect(turn.verdict).toBe('redirect');
    expect(turn.bytes.subarray(14).equals(encode(error))).toBe(true);
    const { verdict, bytes, mark } = harness.run('headgate_report', turn.bytes, { mark: turn.mark });
    expect([verdict, mark]).toEqual(['redirect', 0]);
    const packet = bytes.subarray(14);
    const ip = decode(packet)!;
    const isUdp = tunnel.type === 'gue';
    expect(ip).toMatchObject({ source: ends[0], destination: ends[1], ttl: 8 });
    expect(ip.protocol).toBe(isUdp ? 17 : tunnel.type === 'gre' ? 47 : inner === 4 ? 4 : 41);
    expect(packet.subarray(ip.transport + shim).toString('hex')).toBe(
      encode({ ...error, ttl: 8 }).toString('hex'),
    );
    if (tunnel.checksum !== 'none')
      expect(isUdp ? transportSum(packet, ip) : sum16(packet.subarray(ip.transport))).toBe(0xffff);
  });

  it('passes errors on to a deleted destination too (ip_vs_in_icmp)', async () => {
    const error = icmp(client, vip, { ...unreachable, payload: quote(udp(`${vip}:90`, `${client}:1004`)) });
    const before = harness.receive('c0', error);
    expect(before.verdict).toBe('redirect');
    await harness.apply({
      kind: 'delete-destination',
      id: serviceId(`udp ${vip}:90`),
      destination: destination('10.1.0.14:90'),
    });
    const after = harness.receive('c0', error);
    expect(after.verdict).toBe('redirect');
    expect(after.bytes.toString('hex')).toBe(before.bytes.toString('hex'));
  });
});
