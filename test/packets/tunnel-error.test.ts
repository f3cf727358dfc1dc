import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { encode, filler, type Icmp, icmp, type Packet, udp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

/*
 * ICMP errors about packets that carried others become errors about those (ip_vs_in_icmp; RFC 2473, 8 between
 * families): first what is left of the error on its way to the internal veth, then what comes back from there.
 */

const tunnelTo = (place: string): Destination => ({
  ...destination(place, 'tunnel'),
  tunnel: { type: 'ipip', port: 0, checksum: 'none' },
});
const vips = { 4: '198.51.100.10', 6: '2001:db8:100::10' } as const;
const clients = { 4: '203.0.113.5', 6: '2001:db8:c::5' } as const;
const ends = {
  4: { real: '10.1.0.11', director: '10.1.0.1', router: '10.9.0.1' },
  6: { real: 'fd10::11', director: 'fd10::1', router: 'fd99::1' },
} as const;
const overhead = { 4: 20, 6: 40 } as const;
const families = [4, 6] as const;
const pairs = families.flatMap((inner) => families.map((outer) => ({ inner, outer })));
const place = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
const portOf = { 4: 104, 6: 106 } as const;

type Said = Omit<Icmp, 'kind' | 'payload'>;
const tooBig = (mtu: number) =>
  ({ 4: { type: 3, code: 4, rest: mtu }, 6: { type: 2, code: 0, rest: mtu } }) as const;
/** RFC 792, RFC 4443; across families a tunnel's trouble is an unreachable host (RFC 2473, 8.2). */
const hostUnreachable = { 4: { type: 3, code: 1 }, 6: { type: 1, code: 3 } } as const;
const timeExceeded = { 4: { type: 11, code: 0 }, 6: { type: 3, code: 0 } } as const;
const protocolUnreachable = { 4: { type: 3, code: 2 }, 6: { type: 1, code: 4 } } as const;

requires(
  'root',
  'netns',
  'bpf',
)('ICMP errors about a tunnel', () => {
  let harness: Harness;
  let port = 20_000;
  beforeAll(async () => {
    harness = await openHarness('terror');
    await harness.apply(
      ...additions([
        ...pairs.map(({ inner, outer }) =>
          servicePlan(
            `udp ${place(vips[inner], portOf[outer])}`,
            'rr',
            tunnelTo(place(ends[outer].real, portOf[outer])),
          ),
        ),
        servicePlan(`udp ${vips[4]}:82`, 'rr', destination('10.1.0.11:82', 'direct-routing')),
      ]),
    );
  });
  afterAll(() => harness?.close());

  /** A datagram of a connection, and the outer packet that carried it. */
  function carried(
    inner: 4 | 6,
    outer: 4 | 6,
    { length = 1400, to = portOf[outer] as number, doNotFragment = inner === 4 } = {},
  ): { sent: Packet; carrier: Buffer } {
    const payload = filler(length - (inner === 4 ? 28 : 48));
    const sent = udp(place(clients[inner], ++port), place(vips[inner], to), {
      payload,
      ttl: 60,
      ...(doNotFragment && { doNotFragment }),
    });
    const outcome = harness.receive('c0', sent);
    expect(outcome.verdict).toBe('redirect');
    return { sent: { ...sent, ttl: 59 }, carrier: outcome.bytes.subarray(14) };
  }

  const errorAbout = (outer: 4 | 6, said: Said, carrier: Buffer, quoted: number): Packet =>
    icmp(ends[outer].router, ends[outer].director, { ...said, payload: carrier.subarray(0, quoted) });

  /** Both steps; what reaches the client in the end. */
  function passOn(error: Packet | Buffer): Buffer {
    const first = harness.receive('r0', error);
    expect(first.verdict).toBe('redirect');
    expect(first.mark >>> 24).toBe(0x48);
    const second = harness.run('headgate_report', first.bytes, { mark: first.mark });
    expect(second.verdict).toBe('redirect');
    expect(second.mark).toBe(0);
    return second.bytes.subarray(14);
  }

  /** The error about the packet inside, of which so many bytes were quoted. */
  const wanted = (inner: 4 | 6, said: Said, sent: Packet, quoted: number): Buffer =>
    encode(
      icmp(
        vips[inner],
        clients[inner],
        { ...said, payload: encode(sent).subarray(0, quoted) },
        inner === 4 ? { tos: 0xc0, id: 0 } : {},
      ),
    );

  describe.each(pairs)('IPv$inner in IPv$outer', ({ inner, outer }) => {
    const headers = inner === 4 ? 20 : 40;
    // What tells the connection; the kernel leaves no less of a packet than an IP header of the version it came with.
    const least = Math.max(headers + 8, overhead[outer]);
    // RFC 1812, 4.3.2.3; RFC 4443, 2.4 (c); and the least.
    const quotes = [outer === 4 ? 576 - 28 : 1280 - 48, overhead[outer] + least];

    it.each([0, 1])('too big: the client hears what fits inside, quote %i', (n) => {
      const quoted = quotes[n]!;
      const { sent, carrier } = carried(inner, outer);
      const fits = 1400;
      const found = passOn(errorAbout(outer, tooBig(fits)[outer], carrier, quoted));
      // An error to an IPv4 sender has 576 bytes at most, of which 548 are quoted.
      const most = inner === 4 ? 548 : 1232;
      expect(found.toString('hex')).toBe(
        wanted(
          inner,
          tooBig(fits - overhead[outer])[inner],
          sent,
          Math.min(quoted - overhead[outer], most),
        ).toString('hex'),
      );
    });

    it('too big for what IPv6 guarantees, or for IPv4', () => {
      const { sent, carrier } = carried(inner, outer);
      const quoted = quotes[0]!;
      const found = passOn(errorAbout(outer, tooBig(600)[outer], carrier, quoted));
      const fits = inner === 6 ? 1280 : 600 - overhead[outer];
      const most = Math.min(quoted - overhead[outer], inner === 4 ? 548 : 1232);
      expect(found.toString('hex')).toBe(wanted(inner, tooBig(fits)[inner], sent, most).toString('hex'));
    });

    it.each([
      ['a host that cannot be reached', hostUnreachable],
      ['no such protocol there', protocolUnreachable],
      ['time exceeded', timeExceeded],
    ])('%s', (_, said) => {
      harness.clearIcmpLimits();
      const quoted = quotes[0]!;
      const { sent, carrier } = carried(inner, outer);
      const most = Math.min(quoted - overhead[outer], inner === 4 ? 548 : 1232);
      expect(passOn(errorAbout(outer, said[outer], carrier, quoted)).toString('hex')).toBe(
        wanted(inner, inner === outer ? said[inner] : hostUnreachable[inner], sent, most).toString('hex'),
      );
    });

    it('a wrong checksum: dropped', () => {
      const { carrier } = carried(inner, outer);
      const error = encode(errorAbout(outer, tooBig(1400)[outer], carrier, quotes[0]!));
      error[error.length - 1]! ^= 1;
      expect(harness.receive('r0', error).verdict).toBe('drop');
    });

    it('bytes behind the packet are no part of it', () => {
      const { sent, carrier } = carried(inner, outer);
      const error = encode(errorAbout(outer, tooBig(1400)[outer], carrier, quotes[1]!));
      expect(passOn(Buffer.concat([error, Buffer.alloc(6, 0xaa)])).toString('hex')).toBe(
        wanted(inner, tooBig(1400 - overhead[outer])[inner], sent, least).toString('hex'),
      );
    });

    it.each([
      ['ports that were not quoted', (quoted: Buffer) => quoted.subarray(0, overhead[outer] + headers + 3)],
      ['half an inner header', (quoted: Buffer) => quoted.subarray(0, overhead[outer] + 12)],
      [
        'a tunnel to somebody else',
        (quoted: Buffer) => {
          const other = Buffer.from(quoted);
          other[overhead[outer] - 1]! ^= 1;
          return other;
        },
      ],
      [
        'a connection there is none of',
        (quoted: Buffer) => {
          const other = Buffer.from(quoted);
          other.writeUInt16BE(4, overhead[outer] + headers);
          return other;
        },
      ],
    ])('passes to the stack: %s', (_, change) => {
      const { carrier } = carried(inner, outer);
      const quote = change(carrier.subarray(0, quotes[0]));
      expect(harness.receive('r0', errorAbout(outer, tooBig(1400)[outer], quote, quote.length)).verdict).toBe(
        'pass',
      );
    });
  });

  it('who lets packets be fragmented is not told (ip_vs_in_icmp: "Client uses PMTUD?")', () => {
    const { carrier } = carried(4, 4, { doNotFragment: false });
    expect(harness.receive('r0', errorAbout(4, tooBig(1400)[4], carrier, 548)).verdict).toBe('drop');
  });

  it('limits how often it tells, but not what fits', () => {
    harness.clearIcmpLimits();
    const { carrier } = carried(4, 4);
    const limited = harness.event('EVENT_ICMP_LIMITED');
    const tell = (said: Said) => harness.receive('r0', errorAbout(4, said, carrier, 548)).verdict;
    // XRLIM_BURST_FACTOR of net/ipv4/icmp.c.
    expect(Array.from({ length: 8 }, () => tell(hostUnreachable[4]))).toEqual([
      ...Array(6).fill('redirect'),
      ...Array(2).fill('drop'),
    ]);
    expect(harness.event('EVENT_ICMP_LIMITED')).toBe(limited + 2);
    expect(tell(tooBig(1400)[4])).toBe('redirect');
  });

  it('a tunnelled packet of a connection by another method is none of ours', () => {
    const { sent } = carried(4, 4, { to: 82, length: 100 });
    const carrier = encode({
      source: ends[4].director as Packet['source'],
      destination: ends[4].real as Packet['source'],
      body: { kind: 'raw', protocol: 4, payload: encode(sent) },
    });
    expect(harness.receive('r0', errorAbout(4, tooBig(1400)[4], carrier, 100)).verdict).toBe('pass');
  });

  it.each([
    ['source quench', { type: 4, code: 0 }],
    ['a redirect', { type: 5, code: 1 }],
    ['an echo request', { type: 8, code: 0 }],
  ])('%s is not passed on', (_, said) => {
    const { carrier } = carried(4, 4);
    expect(harness.receive('r0', errorAbout(4, said, carrier, 548)).verdict).toBe('pass');
  });

  it('counts what it passes on as an answer', async () => {
    const counted = async () => {
      const { services } = await harness.read();
      const { counters } = services.find(
        ({ service: { id } }) => id.kind === 'address' && id.port === 104 && id.address === vips[4],
      )!;
      return Number(counters.packetsOut);
    };
    const { carrier } = carried(4, 4);
    const before = await counted();
    passOn(errorAbout(4, tooBig(1400)[4], carrier, 548));
    expect(await counted()).toBe(before + 1);
  });
});
