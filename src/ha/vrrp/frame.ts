import { addressToBytes, familyOf } from '../../model/address.ts';
import { type Ends, vrrpHopLimit } from './packet.ts';

/** Advertisements as whole frames, for a sender whose MAC address is not that of its device. Pure. */

const etherTypes = { 4: 0x0800, 6: 0x86dd } as const;
/** RFC 9568 has no word about it; keepalived marks advertisements as network control, and so do we. */
export const networkControl = 0xc0;
const doNotFragment = 0x4000;

/** An IP packet with what stands behind its header, for a multicast group. */
export function ipPacket(payload: Buffer, ends: Ends, protocol: number): Buffer {
  const [source, destination] = [addressToBytes(ends.source), addressToBytes(ends.destination)];
  if (familyOf(ends.source) === 6) {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(((6 << 28) | (networkControl << 20)) >>> 0);
    header.writeUInt16BE(payload.length, 4);
    header.set([protocol, vrrpHopLimit], 6);
    return Buffer.concat([header, source, destination, payload]);
  }
  const header = Buffer.alloc(12);
  header.set([0x45, networkControl]);
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(doNotFragment, 6);
  header.set([vrrpHopLimit, protocol], 8);
  return withChecksum(Buffer.concat([header, source, destination, payload]));
}

/** An IPv4 packet with the checksum of its header (RFC 791, 3.1). */
export function withChecksum(packet: Buffer): Buffer {
  const whole = Buffer.from(packet);
  whole.writeUInt16BE(0, 10);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += whole.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  whole.writeUInt16BE(~sum & 0xffff, 10);
  return whole;
}

/** An Ethernet frame for a multicast group: RFC 1112, 6.4, and RFC 2464, 7. */
export function multicastFrame(packet: Buffer, mac: Buffer, group: Ends['destination']): Buffer {
  const bytes = addressToBytes(group);
  const family = familyOf(group);
  const destination =
    family === 4
      ? [0x01, 0x00, 0x5e, bytes[1]! & 0x7f, bytes[2]!, bytes[3]!]
      : [0x33, 0x33, ...bytes.subarray(12, 16)];
  const type = Buffer.alloc(2);
  type.writeUInt16BE(etherTypes[family]);
  return Buffer.concat([Buffer.from(destination), mac, type, packet]);
}
