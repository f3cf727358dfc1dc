import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { disagreement } from './agreement.ts';
import { encode, filler, fragments, icmp, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { createReference, type Expected, type Reference } from './reference.ts';
import { additions, destination, servicePlan } from './services.ts';
import { type DeviceName, wayTo } from './world.ts';

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';

const plans = [
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.12:5353')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::12]:5353')),
  servicePlan(`udp ${vip}:82`, 'rr', destination('10.1.0.12:82', 'direct-routing')),
  servicePlan(`udp ${vip6}:82`, 'rr', destination('[fd10::12]:82', 'direct-routing')),
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
];

const big = filler(3000);
let port = 30_000;
let id = 100;

requires(
  'root',
  'netns',
  'bpf',
)('fragments', () => {
  let harness: Harness;
  let reference: Reference;
  beforeAll(async () => {
    harness = await openHarness('fragments');
    await harness.apply(...additions(plans));
    reference = createReference(plans);
  });
  afterAll(() => harness?.close());

  /** Sends a piece in; it must fare as told, and as the reference says. */
  function send(
    device: DeviceName,
    piece: Packet,
    verdict: 'pass' | 'drop' | 'redirect',
    out?: Packet,
    to?: string,
  ) {
    const frame = inbound(device, piece);
    const outcome = harness.receive(device, piece);
    const packet = encode(out ?? piece);
    const wanted: Expected =
      verdict === 'redirect' ? { verdict, packet, way: wayTo(to ?? out!.destination) } : { verdict, packet };
    expect(disagreement(wanted, outcome, frame)).toBeUndefined();
    expect(
      disagreement(reference.receiveFrame(device, frame), outcome, frame),
      'the reference',
    ).toBeUndefined();
  }

  const families = [
    { family: 'IPv4', client: () => `203.0.113.5:${++port}`, service: vip, real: '10.1.0.12' },
    { family: 'IPv6', client: () => `[2001:db8:c::5]:${++port}`, service: vip6, real: '[fd10::12]' },
  ];

  for (const { family, client, service, real } of families) {
    const realAddress = real.replaceAll(/[[\]]/g, '');

    it(`${family}: later ones follow the first, both ways, translated`, () => {
      const at = client();
      const settings = { payload: big, id: ++id };
      const request = fragments(udp(at, `${service}:53`, settings), 1480);
      const forwarded = fragments(udp(at, `${real}:5353`, { ...settings, ttl: 63 }), 1480);
      expect(request).toHaveLength(3);
      for (const [i, piece] of request.entries()) send('c0', piece, 'redirect', forwarded[i]!);
      const answer = fragments(udp(`${real}:5353`, at, settings), 1480);
      const returned = fragments(udp(`${service}:53`, at, { ...settings, ttl: 63 }), 1480);
      for (const [i, piece] of answer.entries()) send('r0', piece, 'redirect', returned[i]!);
    });

    it(`${family}: direct routing`, () => {
      const at = client();
      const settings = { payload: big, id: ++id };
      const request = fragments(udp(at, `${service}:82`, settings), 1480);
      const forwarded = fragments(udp(at, `${service}:82`, { ...settings, ttl: 63 }), 1480);
      for (const [i, piece] of request.entries()) send('c0', piece, 'redirect', forwarded[i]!, realAddress);
    });

    it(`${family}: one that comes before its first is dropped and counted; then they pass in any order`, () => {
      const at = client();
      const settings = { payload: big, id: ++id };
      const request = fragments(udp(at, `${service}:53`, settings), 1480);
      const forwarded = fragments(udp(at, `${real}:5353`, { ...settings, ttl: 63 }), 1480);
      const lost = harness.event('EVENT_FRAGMENT_LOST');
      send('c0', request[1]!, 'drop');
      expect(harness.event('EVENT_FRAGMENT_LOST')).toBe(lost + 1);
      for (const i of [0, 2, 1, 1]) send('c0', request[i]!, 'redirect', forwarded[i]!);
      send('c0', { ...request[1]!, id: id + 5000 }, 'drop');
    });

    it(`${family}: do not open or advance connections by what only looks like a header`, async () => {
      const before = (await harness.connections()).length;
      // The bytes at the place of the ports say 53.
      const piece = fragments(
        udp(client(), `${service}:53`, { payload: filler(2000).fill(53), id: ++id }),
        1480,
      )[1]!;
      send('c0', piece, 'drop');
      expect(await harness.connections()).toHaveLength(before);
    });

    it(`${family}: of a datagram to a port without service pass like their first`, () => {
      const pieces = fragments(udp(client(), `${service}:54`, { payload: big, id: ++id }), 1480);
      for (const piece of pieces) send('c0', piece, 'pass');
    });

    it(`${family}: from a real server to somebody else pass like their first`, () => {
      const pieces = fragments(udp(`${real}:2049`, client(), { payload: big, id: ++id }), 1480);
      for (const piece of pieces) send('r0', piece, 'pass');
    });

    it(`${family}: of a long ping to the virtual address pass`, () => {
      const [source, destinationAddress] = [client(), `${service}:0`].map((text) =>
        text.replace(/:\d+$/, '').replaceAll(/[[\]]/g, ''),
      );
      const ping = icmp(
        source!,
        destinationAddress!,
        { type: family === 'IPv4' ? 8 : 128, code: 0, payload: big },
        { id: ++id },
      );
      for (const piece of fragments(ping, 1480)) send('c0', piece, 'pass');
    });
  }

  it('a first fragment too short for its TCP header passes; a tiny one for UDP is read', () => {
    const at = `203.0.113.5:${++port}`;
    const cut = fragments(tcp(at, `${vip}:80`, 'S', { payload: big, id: ++id }), 36)[0]!;
    send('c0', cut, 'pass');
    const tiny = fragments(udp(at, `${vip}:53`, { payload: big, id: ++id }), 28)[0]!;
    const out = fragments(udp(at, '10.1.0.12:5353', { payload: big, id, ttl: 63 }), 28)[0]!;
    send('c0', tiny, 'redirect', out);
  });

  it('TTL 1 on a later IPv4 fragment causes no ICMP error (RFC 1122, 3.2.2)', () => {
    const at = `203.0.113.5:${++port}`;
    const pieces = fragments(udp(at, `${vip}:53`, { payload: big, id: ++id }), 1480);
    const forwarded = fragments(udp(at, '10.1.0.12:5353', { payload: big, id, ttl: 63 }), 1480);
    harness.clearIcmpLimits();
    send('c0', pieces[0]!, 'redirect', forwarded[0]!);
    send('c0', { ...pieces[1]!, ttl: 1 }, 'drop');
  });

  it('IPv6: an extension header behind the Fragment header belongs to the first one alone', () => {
    const at = `[2001:db8:c::5]:${++port}`;
    const datagram = (to: string, ttl: number): Packet[] => {
      // Destination options (60) and the UDP datagram are what is cut into pieces.
      const whole = udp(at, to, {
        payload: big,
        id,
        ttl,
        extensions: [{ kind: 'destination', bytes: Buffer.from([1, 4, 0, 0, 0, 0]) }],
      });
      const bytes = encode(whole).subarray(40);
      const { extensions, ...rest } = whole;
      const room = 1424;
      return [0, room, 2 * room].map((offset) => ({
        ...rest,
        fragment: { offset, more: offset + room < bytes.length },
        body: { kind: 'raw', protocol: 60, payload: bytes.subarray(offset, offset + room) },
      }));
    };
    id++;
    const pieces = datagram(`${vip6}:53`, 64);
    const forwarded = datagram('[fd10::12]:5353', 63);
    for (const [i, piece] of pieces.entries()) send('c0', piece, 'redirect', forwarded[i]!);
  });
});
