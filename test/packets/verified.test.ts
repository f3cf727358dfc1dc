import { afterAll, beforeAll, expect, it } from 'vitest';
import { testRunSkb } from '../../src/sys/bpf/test-run.ts';
import { requires } from '../requirements.ts';
import { openVerifiedEntry } from './entry.ts';
import { encode, ethernet, filler, type Packet, tcp, udp } from './frame.ts';
import { type Harness, inbound, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';
import { macs, wayTo } from './world.ts';

/*
 * A network card that verifies checksums hands packets over as CHECKSUM_UNNECESSARY; test packets come as
 * CHECKSUM_NONE. A program of a few lines in front raises them, as bpf_csum_level does by the way
 * (__skb_incr_checksum_unnecessary). What comes out must be the same to the byte.
 */

const vip = '198.51.100.10';
const vip6 = '[2001:db8:100::10]';
const client = '203.0.113.5:41001';
const client6 = '[2001:db8:c::5]:41001';

const plans = [
  servicePlan(`tcp ${vip}:80`, 'rr', destination('10.1.0.11:8080')),
  servicePlan(`udp ${vip}:53`, 'rr', destination('10.1.0.11:5353')),
  servicePlan(`tcp ${vip}:83`, 'rr', destination('10.1.0.11:83')),
  servicePlan(`tcp ${vip6}:80`, 'rr', destination('[fd10::11]:8080')),
  servicePlan(`udp ${vip6}:53`, 'rr', destination('[fd10::11]:5353')),
];

type Make = (from: string, to: string, ttl?: number) => Packet;
const data: Make = (from, to, ttl = 64) => tcp(from, to, 'A', { payload: filler(333), ttl });
const datagram: Make = (from, to, ttl = 64) => udp(from, to, { payload: filler(78), ttl });
const unsummed: Make = (from, to, ttl = 64) => udp(from, to, { checksum: false, ttl });
const optioned: Make = (from, to, ttl = 64) =>
  tcp(from, to, 'A', { payload: filler(50), options: Uint8Array.from([1, 1, 1, 0]), ttl });

const rows: readonly [string, Make, from: string, service: string, there: string][] = [
  ['TCP', data, client, `${vip}:80`, '10.1.0.11:8080'],
  ['TCP, same port', data, client, `${vip}:83`, '10.1.0.11:83'],
  ['TCP behind IPv4 options', optioned, client, `${vip}:80`, '10.1.0.11:8080'],
  ['UDP', datagram, client, `${vip}:53`, '10.1.0.11:5353'],
  ['UDP without checksum', unsummed, client, `${vip}:53`, '10.1.0.11:5353'],
  ['IPv6 TCP', data, client6, `${vip6}:80`, '[fd10::11]:8080'],
  ['IPv6 UDP', datagram, client6, `${vip6}:53`, '[fd10::11]:5353'],
];

requires(
  'root',
  'bpf',
  'netns',
)('packets with a checksum the card has verified', () => {
  let harness: Harness;
  let entry: { readonly fd: number; close(): void };

  beforeAll(async () => {
    harness = await openHarness('verified');
    await harness.apply(...additions(plans));
    entry = openVerifiedEntry(harness.instance.program('headgate_ethernet')!);
  });
  afterAll(async () => {
    entry?.close();
    await harness?.close();
  });

  it.each(rows)('%s', (_name, make, from, service, there) => {
    const open = make === data || make === optioned ? tcp(from, service, 'S') : make(from, service);
    harness.receive('c0', open);
    for (const [device, packet, out, to] of [
      ['c0', make(from, service), make(from, there, 63), there],
      ['r0', make(there, from), make(service, from, 63), from],
    ] as const) {
      // Twice, so that the next hop is known.
      harness.receive(device, packet);
      const unknown = harness.receive(device, packet);
      const frame = inbound(device, packet);
      const verified = testRunSkb(entry.fd, frame, { ifindex: harness.world.index[device] });
      expect(verified.returnValue).toBe(7);
      const way = wayTo(to.replace(/:\d+$/, '').replaceAll(/[[\]]/g, ''));
      if (way.kind !== 'neighbour') throw new Error('wanted a neighbour');
      const wanted = ethernet(encode(out), { to: way.mac, from: macs[way.device].own });
      expect(verified.data.toString('hex')).toBe(wanted.toString('hex'));
      expect(verified.data.toString('hex')).toBe(unknown.bytes.toString('hex'));
    }
  });
});
