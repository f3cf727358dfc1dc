import { addressFromBytes } from '../../src/model/address.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import type { Site } from './site.ts';

/*
 * Packets as they stand on a wire, taken apart by hand from the RFCs and with no help of the product.
 */

const ethernet = 14;
const numbers = { tcp: 6, udp: 17, icmp: 1, icmp6: 58, fragment: 44 };

export type IpPacket = {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly ttl: number;
  /** Of the transport header; for IPv6 after a fragment header. */
  readonly protocol: number;
  /** Bytes after the IP header, cut to the length the header states. */
  readonly payload: Buffer;
  readonly headerChecksumRight: boolean;
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly identification: number };
};

/** An ICMP error: type and code by its own family's numbers, and the packet it quotes. */
export type IcmpError = IpPacket & {
  readonly type: number;
  readonly code: number;
  readonly checksumRight: boolean;
  /** The second word: the MTU, for messages that carry one. */
  readonly rest: number;
  readonly quoted: IpPacket & { readonly sourcePort: number; readonly destinationPort: number };
};

/** The Internet checksum of RFC 1071: 0 over data that contains its own right checksum. */
export function internetChecksum(...parts: Buffer[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Reads the IP packet in a frame; undefined when it holds none. */
export function ipOf(frame: Buffer): IpPacket | undefined {
  const type = frame.readUInt16BE(12);
  if (type === 0x0800) return readIpv4(frame.subarray(ethernet));
  if (type === 0x86dd) return readIpv6(frame.subarray(ethernet));
  return undefined;
}

function readIpv4(bytes: Buffer): IpPacket {
  const header = (bytes[0]! & 15) * 4;
  const flags = bytes.readUInt16BE(6);
  const isFragment = (flags & 0x3fff) !== 0;
  return {
    family: 4,
    source: addressFromBytes(bytes.subarray(12, 16)),
    destination: addressFromBytes(bytes.subarray(16, 20)),
    ttl: bytes[8]!,
    protocol: bytes[9]!,
    payload: bytes.subarray(header, bytes.readUInt16BE(2)),
    headerChecksumRight: internetChecksum(bytes.subarray(0, header)) === 0,
    ...(isFragment && {
      fragment: {
        offset: (flags & 0x1fff) * 8,
        more: (flags & 0x2000) !== 0,
        identification: bytes.readUInt16BE(4),
      },
    }),
  };
}

function readIpv6(bytes: Buffer): IpPacket {
  const payload = bytes.subarray(40, 40 + bytes.readUInt16BE(4));
  const common = {
    family: 6 as const,
    source: addressFromBytes(bytes.subarray(8, 24)),
    destination: addressFromBytes(bytes.subarray(24, 40)),
    ttl: bytes[7]!,
    headerChecksumRight: true,
  };
  if (bytes[6] !== numbers.fragment) return { ...common, protocol: bytes[6]!, payload };
  const place = payload.readUInt16BE(2);
  return {
    ...common,
    protocol: payload[0]!,
    payload: payload.subarray(8),
    fragment: { offset: place & ~7, more: (place & 1) !== 0, identification: payload.readUInt32BE(4) },
  };
}

/** Reads a packet as an ICMP error; undefined when it is none. */
export function icmpErrorOf(packet: IpPacket): IcmpError | undefined {
  const { family, protocol, payload } = packet;
  if (protocol !== (family === 4 ? numbers.icmp : numbers.icmp6) || payload.length < 8) return undefined;
  const type = payload[0]!;
  if (family === 4 ? ![3, 11, 12].includes(type) : type >= 128) return undefined;
  const inner = payload.subarray(8);
  const quoted = family === 4 ? readIpv4(inner) : readIpv6(inner);
  const pseudo = family === 4 ? Buffer.alloc(0) : pseudoHeader(packet);
  return {
    ...packet,
    type,
    code: payload[1]!,
    checksumRight: internetChecksum(pseudo, payload) === 0,
    rest: payload.readUInt32BE(4),
    quoted: {
      ...quoted,
      sourcePort: quoted.payload.readUInt16BE(0),
      destinationPort: quoted.payload.readUInt16BE(2),
    },
  };
}

/** Whether the TCP or UDP checksum of a whole packet is right (RFC 9293, 3.1; RFC 768; 0 is "none" in UDP over IPv4). */
export function isTransportChecksumRight(packet: IpPacket): boolean {
  if (packet.protocol === numbers.udp && packet.payload.readUInt16BE(6) === 0) return packet.family === 4;
  return internetChecksum(pseudoHeader(packet), packet.payload) === 0;
}

/** RFC 9293, 3.1 and RFC 8200, 8.1. */
function pseudoHeader({ family, source, destination, payload, protocol }: IpPacket): Buffer {
  if (family === 4) {
    const ends = [source, destination].flatMap((text) => text.split('.').map(Number));
    return Buffer.from([...ends, 0, protocol, payload.length >> 8, payload.length & 0xff]);
  }
  const lengthAndNext = Buffer.alloc(8);
  lengthAndNext.writeUInt32BE(payload.length, 0);
  lengthAndNext.writeUInt32BE(protocol, 4);
  return Buffer.concat([bytesOf6(source), bytesOf6(destination), lengthAndNext]);
}

/** The 16 bytes of an IPv6 address written without dots. */
export function bytesOf6(text: string): Buffer {
  const [head = '', tail] = text.split('::');
  const groups = (part: string) =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const bytes = Buffer.alloc(16);
  [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last].forEach((group, i) => {
    bytes.writeUInt16BE(group, i * 2);
  });
  return bytes;
}

/** Listens on a device of a node. */
export function watch({ lab }: Site, node: string, device: string): FrameSocket {
  const index = withNetlink({ netns: netnsPath(lab.netns(node)) }, (netlink) => linkIndex(netlink, device));
  return lab.inside(node, () => openFrameSocket(index));
}

/** What has arrived on a device and passes `pick`, waiting for the first of it. */
export function arrived<T>(
  watcher: FrameSocket,
  pick: (packet: IpPacket) => T | undefined,
  { waitMs = 1000 }: { waitMs?: number } = {},
): T[] {
  const found: T[] = [];
  const end = performance.now() + waitMs;
  for (;;) {
    const frame = watcher.receive(found.length > 0 ? 0 : Math.max(0, end - performance.now()));
    if (!frame && (found.length > 0 || performance.now() >= end)) return found;
    if (!frame || frame.outgoing) continue;
    const packet = ipOf(frame.bytes);
    const picked = packet && pick(packet);
    if (picked !== undefined) found.push(picked);
  }
}
