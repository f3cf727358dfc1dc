import { afterAll, beforeAll, expect, it } from 'vitest';
import { bpf, newAttributes, putAddress } from '../../src/sys/bpf/call.ts';
import { createMap } from '../../src/sys/bpf/map.ts';
import type { ProgramHandle } from '../../src/sys/bpf/program.ts';
import { testRunSkb } from '../../src/sys/bpf/test-run.ts';
import { mapType, programType } from '../../src/sys/bpf/uapi.ts';
import { closeFd } from '../../src/sys/ffi.ts';
import { requires } from '../requirements.ts';
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
    entry = verifiedEntry(harness.instance.program('headgate_ethernet')!);
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

const csumLevel = 135; // bpf_csum_level
const increase = 1; // BPF_CSUM_LEVEL_INC
const tailCall = 12; // bpf_tail_call

/** A program that makes the packet's checksum a verified one and goes on with `program`. */
function verifiedEntry(program: ProgramHandle): { readonly fd: number; close(): void } {
  const next = createMap({
    name: 'verified_entry',
    type: mapType.PROG_ARRAY,
    keySize: 4,
    valueSize: 4,
    maxEntries: 1,
  });
  const value = Buffer.alloc(4);
  value.writeUInt32LE(program.fd);
  next.update(0, value);
  const instructions = Buffer.concat([
    instruction(0xbf, 6, 1), // r6 = r1, the packet
    instruction(0xb7, 2, 0, increase),
    instruction(0x85, 0, 0, csumLevel),
    instruction(0xbf, 1, 6),
    instruction(0x18, 2, 1, next.fd), // r2 = the map
    instruction(0, 0, 0),
    instruction(0xb7, 3, 0, 0),
    instruction(0x85, 0, 0, tailCall),
    instruction(0xb7, 0, 0, 99), // not reached
    instruction(0x95, 0, 0),
  ]);
  const license = Buffer.from('GPL\0');
  const attributes = newAttributes();
  attributes.writeUInt32LE(programType.SCHED_CLS, 0);
  attributes.writeUInt32LE(instructions.length / 8, 4);
  putAddress(attributes, 8, instructions);
  putAddress(attributes, 16, license);
  attributes.writeUInt32LE(program.expectedAttachType, 68);
  const fd = bpf('PROG_LOAD', attributes, 'load the way into a program', [instructions, license]);
  return {
    fd,
    close() {
      closeFd(fd);
      next.close();
    },
  };
}

function instruction(code: number, target: number, source: number, immediate = 0): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = code;
  bytes[1] = (source << 4) | target;
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}
