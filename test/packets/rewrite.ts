import { type Address, addressToBytes } from '../../src/model/address.ts';
import { protocolNumbers } from '../../src/model/service-id.ts';
import { sctpChecksum } from './crc32c.ts';
import { type Decoded, sum16 } from './frame.ts';

/*
 * Changing packets that need not be right: a wrong checksum must stay wrong by the same amount (RFC 3022, 4.1: NAT
 * must not hide damage), so checksums are moved by the difference of the sums before and after (RFC 1624).
 */

/** A new address for one side of a packet. */
export type Readdress = { readonly side: 'source' | 'destination'; readonly address: Address };

/** Moves the checksum at an offset by what changed from the first to the second bytes of each pair. */
export function adjustChecksum(
  packet: Buffer,
  offset: number,
  changes: readonly (readonly [before: Uint8Array, after: Uint8Array])[],
): void {
  let sum = ~packet.readUInt16BE(offset) & 0xffff;
  for (const [before, after] of changes) sum += 0xffff - sum16(before) + sum16(after);
  // In one's complement 0xffff and 0 are one number; a sum of anything but zeros is never 0.
  sum %= 0xffff;
  packet.writeUInt16BE(~(sum === 0 ? 0xffff : sum) & 0xffff, offset);
}

/** A copy with `hops` fewer to live and, if wanted, another address. */
export function rewriteIp(packet: Buffer, ip: Decoded, hops: number, to: Readdress | undefined): Buffer {
  const out = Buffer.from(packet);
  if (hops === 0 && !to) return out;
  const ttlAt = ip.family === 4 ? 8 : 7;
  out[ttlAt] = out[ttlAt]! - hops;
  const sourceAt = ip.family === 4 ? 12 : 8;
  const length = ip.family === 4 ? 4 : 16;
  if (to) out.set(addressToBytes(to.address), to.side === 'source' ? sourceAt : sourceAt + length);
  if (ip.family === 4) adjustChecksum(out, 10, [[withoutChecksum(packet), withoutChecksum(out)]]);
  return out;
}

const withoutChecksum = (packet: Buffer) =>
  Buffer.concat([packet.subarray(0, 10), Buffer.alloc(2), packet.subarray(12, 20)]);

/** Port and checksum of the transport header for another address, in place; `ip` is the packet as it was. */
export function rewriteTransport(
  packet: Buffer,
  ip: Decoded,
  to: Readdress & { readonly port: number },
): Buffer {
  const at = ip.transport;
  if (ip.protocol === protocolNumbers.sctp) return rewriteSctp(packet, ip, to);
  const udp = ip.protocol === protocolNumbers.udp;
  const checksumAt = at + (udp ? 6 : 16);
  const portAt = at + (to.side === 'source' ? 0 : 2);
  const before = Buffer.concat([addressToBytes(ip[to.side]), packet.subarray(portAt, portAt + 2)]);
  packet.writeUInt16BE(to.port, portAt);
  if (udp && packet.readUInt16BE(checksumAt) === 0) return packet;
  const after = Buffer.concat([addressToBytes(to.address), packet.subarray(portAt, portAt + 2)]);
  adjustChecksum(packet, checksumAt, [[before, after]]);
  if (udp && packet.readUInt16BE(checksumAt) === 0) packet.writeUInt16BE(0xffff, checksumAt);
  return packet;
}

/** Addresses are not covered; a checksum that nobody has made yet stays so. */
function rewriteSctp(
  packet: Buffer,
  { transport, length }: Decoded,
  to: Readdress & { readonly port: number },
): Buffer {
  const checksum = packet.readUInt32LE(transport + 8);
  const sum = () => sctpChecksum(packet.subarray(transport, length));
  const damage = checksum ^ sum();
  packet.writeUInt16BE(to.port, transport + (to.side === 'source' ? 0 : 2));
  if (checksum !== 0) packet.writeUInt32LE((sum() ^ damage) >>> 0, transport + 8);
  return packet;
}
