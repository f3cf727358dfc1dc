import { addressToBytes, parseAddress } from '../../src/model/address.ts';
import type { Protocol } from '../../src/model/virtual-service.ts';

/** A frame of one flow, as the wrapper writes it. */
export type Frame = {
  readonly bytes: Buffer;
  readonly words: 'v4' | 'v6';
  /** Where the client's last address word and its port stand. */
  readonly addressAt: number;
  readonly portAt: number;
  /** Where the checksums stand; IPv6 has none: 0. */
  readonly ipChecksumAt: number;
  readonly checksumAt: number;
};

export type FrameOrder = {
  readonly destinationMac: string;
  readonly protocol: Protocol;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** SYN 2, ACK 16. */
  readonly tcpFlags?: number;
  /** The end whose address and port differ from flow to flow. */
  readonly client: 'source' | 'destination';
};

const headerBytes = { tcp: 20, udp: 8 };

/** Ethernet, IP and transport headers, zeros up to a whole frame (64 bytes with its check sequence, IPv6 80). */
export function buildFrame(order: FrameOrder): Frame {
  const source = addressToBytes(parseAddress(order.source)!);
  const destination = addressToBytes(parseAddress(order.destination)!);
  const six = source.length === 16;
  const length = six ? 80 : 60;
  const bytes = Buffer.alloc(length);
  const l4 = 14 + (six ? 40 : 20);
  bytes.set(macBytes(order.destinationMac));
  bytes.set([2, 0, 0, 0, 0, 0x77], 6);
  bytes.writeUInt16BE(six ? 0x86dd : 0x0800, 12);
  const protocol = order.protocol === 'tcp' ? 6 : 17;
  const segment = length - l4;
  if (six) {
    bytes[14] = 0x60;
    bytes.writeUInt16BE(segment, 18);
    bytes.set([protocol, 64], 20);
    bytes.set(source, 22);
    bytes.set(destination, 38);
  } else {
    bytes.set([0x45, 0], 14);
    bytes.writeUInt16BE(length - 14, 16);
    bytes.writeUInt16BE(0x4000, 20);
    bytes.set([64, protocol], 22);
    bytes.set(source, 26);
    bytes.set(destination, 30);
    bytes.writeUInt16BE(internetChecksum(bytes.subarray(14, 34)), 24);
  }
  bytes.writeUInt16BE(order.sourcePort, l4);
  bytes.writeUInt16BE(order.destinationPort, l4 + 2);
  if (order.protocol === 'tcp') {
    bytes[l4 + 12] = (headerBytes.tcp / 4) << 4;
    bytes[l4 + 13] = order.tcpFlags ?? 16;
  } else {
    bytes.writeUInt16BE(segment, l4 + 4);
  }
  const pseudo = Buffer.concat([source, destination, Buffer.from([0, protocol, 0, segment])]);
  const checksum = internetChecksum(Buffer.concat([pseudo, bytes.subarray(l4)]));
  const checksumAt = l4 + (order.protocol === 'tcp' ? 16 : 6);
  bytes.writeUInt16BE(checksum, checksumAt);
  const lastWord = six ? { source: 34, destination: 50 } : { source: 26, destination: 30 };
  return {
    bytes,
    words: six ? 'v6' : 'v4',
    addressAt: lastWord[order.client],
    ipChecksumAt: six ? 0 : 24,
    checksumAt,
    portAt: l4 + (order.client === 'source' ? 0 : 2),
  };
}

export function macBytes(mac: string): number[] {
  return mac.split(':').map((part) => Number.parseInt(part, 16));
}

/** RFC 1071. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
