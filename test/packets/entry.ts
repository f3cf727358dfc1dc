import { bpf, newAttributes, putAddress } from '../../src/sys/bpf/call.ts';
import { createMap } from '../../src/sys/bpf/map.ts';
import type { ProgramHandle } from '../../src/sys/bpf/program.ts';
import { mapType, programType } from '../../src/sys/bpf/uapi.ts';
import { closeFd } from '../../src/sys/ffi.ts';

/** A program in front of another one, which does to the packet what a test run cannot. */
export type Entry = { readonly fd: number; close(): void };

const tailCall = 12; // bpf_tail_call

/**
 * Makes the packet one for this host. BPF_PROG_TEST_RUN takes the first 14 bytes of what it gets for an Ethernet header: it reads the protocol from bytes
 * 12 and 13 and compares the first six with the device's address. A bare IP packet can come in all the same if those
 * two bytes, which lie in its source address, happen to be the protocol's number: sources 8.0.0.0/16 (08 00) and
 * any IPv6 address with 86dd as its third group. That it was not addressed to the device is what this puts right.
 */
export function openRawEntry(program: ProgramHandle): Entry {
  const changeType = 32; // bpf_skb_change_type
  const packetHost = 0;
  return openEntry(program, changeType, packetHost);
}

/** Makes the packet's checksum one that the card has verified. */
export function openVerifiedEntry(program: ProgramHandle): Entry {
  const csumLevel = 135; // bpf_csum_level
  const increase = 1; // BPF_CSUM_LEVEL_INC
  return openEntry(program, csumLevel, increase);
}

/** A program that calls `helper` (packet, `argument`) of the kernel and goes on with `program`. */
function openEntry(program: ProgramHandle, helper: number, argument: number): Entry {
  const next = createMap({
    name: 'entry',
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
    instruction(0xb7, 2, 0, argument),
    instruction(0x85, 0, 0, helper),
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
