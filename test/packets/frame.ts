import {
  type Address,
  addressFromBytes,
  addressToBytes,
  familyOf,
  parseAddress,
} from '../../src/model/address.ts';
import { sctpChecksum } from './crc32c.ts';

/*
 * Packets as plain values, to bytes and back: RFC 791, 8200, 9293, 768, 792, 4443, 9260. Checksums are always summed over
 * the whole packet, never adjusted, so that this is a second opinion on a program that adjusts them.
 */

/** TCP flag bits by their letters. */
const tcpFlags = { F: 1, S: 2, R: 4, P: 8, A: 16 } as const;

export const protocolNumber = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;
/** Whether packets of a protocol are forwarded, and not told about or wrapped around others. */
export const isTransport = (protocol: number): boolean =>
  protocol === protocolNumber.tcp || protocol === protocolNumber.udp || protocol === protocolNumber.sctp;
const extensionNumber = { 'hop-by-hop': 0, routing: 43, destination: 60 } as const;
const fragmentHeader = 44;

export type Tcp = {
  readonly kind: 'tcp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Flag bits. */
  readonly flags: number;
  readonly sequence?: number;
  /** Left out, it is some number with the flag A and 0 without. */
  readonly acknowledgement?: number;
  readonly window?: number;
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
};
export type Udp = {
  readonly kind: 'udp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** False: the sender made no checksum. */
  readonly checksum?: boolean;
  readonly payload?: Uint8Array;
};
/** SCTP chunk types (RFC 9260, 3.2). */
export const chunkTypes = {
  ...{ data: 0, init: 1, 'init-ack': 2, sack: 3, heartbeat: 4, 'heartbeat-ack': 5, abort: 6, shutdown: 7 },
  ...{ 'shutdown-ack': 8, error: 9, 'cookie-echo': 10, 'cookie-ack': 11, ecne: 12, cwr: 13 },
  'shutdown-complete': 14,
} as const;
export type Chunk = {
  readonly type: number;
  /** What stands behind the chunk's header. */
  readonly value?: Uint8Array;
};
export type Sctp = {
  readonly kind: 'sctp';
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly chunks: readonly Chunk[];
  /** False: the device is to make it. */
  readonly checksum?: boolean;
  readonly payload?: undefined;
};
/** ICMP over IPv4, ICMPv6 over IPv6. */
export type Icmp = {
  readonly kind: 'icmp';
  readonly type: number;
  readonly code: number;
  /** The four bytes behind the checksum. */
  readonly rest?: number;
  readonly payload?: Uint8Array;
};
/** Anything else, or a piece of a datagram. */
export type Raw = { readonly kind: 'raw'; readonly protocol: number; readonly payload: Uint8Array };

export type Packet = {
  readonly source: Address;
  readonly destination: Address;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  readonly doNotFragment?: boolean;
  /** This packet is a piece of a datagram: offset in bytes. */
  readonly fragment?: { readonly offset: number; readonly more: boolean };
  /** IPv4 options, a multiple of four bytes. */
  readonly options?: Uint8Array;
  /** IPv6 extension headers, in order, before a fragment header; `bytes` follow the two fixed ones. */
  readonly extensions?: readonly { kind: keyof typeof extensionNumber; bytes: Uint8Array }[];
  readonly body: Tcp | Udp | Sctp | Icmp | Raw;
};

export type Settings = Partial<Omit<Packet, 'source' | 'destination' | 'body'>> & {
  readonly payload?: Uint8Array;
};

/** A TCP segment between `address:port` and `address:port`; flags by letter, as in "SA". */
export function tcp(
  from: string,
  to: string,
  flags: string,
  settings: Settings &
    Partial<Pick<Tcp, 'sequence' | 'acknowledgement' | 'window'>> & { tcpOptions?: Uint8Array } = {},
): Packet {
  const { payload, tcpOptions, sequence, acknowledgement, window, ...rest } = settings;
  const bits = [...flags].reduce((sum, letter) => sum | tcpFlags[letter as keyof typeof tcpFlags], 0);
  return between(from, to, rest, (sourcePort, destinationPort) => ({
    kind: 'tcp',
    sourcePort,
    destinationPort,
    flags: bits,
    ...(sequence !== undefined && { sequence }),
    ...(acknowledgement !== undefined && { acknowledgement }),
    ...(window !== undefined && { window }),
    ...(tcpOptions && { options: tcpOptions }),
    ...(payload && { payload }),
  }));
}

/** A UDP datagram between `address:port` and `address:port`. */
export function udp(from: string, to: string, settings: Settings & { checksum?: boolean } = {}): Packet {
  const { payload = text('datagram'), checksum = true, ...rest } = settings;
  return between(from, to, rest, (sourcePort, destinationPort) => ({
    kind: 'udp',
    sourcePort,
    destinationPort,
    checksum,
    payload,
  }));
}

/** An SCTP packet between `address:port` and `address:port`; chunks by name, or whole. */
export function sctp(
  from: string,
  to: string,
  chunks: keyof typeof chunkTypes | readonly (keyof typeof chunkTypes | Chunk)[],
  settings: Omit<Settings, 'payload'> & { checksum?: boolean } = {},
): Packet {
  const { checksum = true, ...rest } = settings;
  return between(from, to, rest, (sourcePort, destinationPort) => ({
    kind: 'sctp',
    sourcePort,
    destinationPort,
    checksum,
    chunks: [chunks].flat().map((one) => (typeof one === 'string' ? { type: chunkTypes[one] } : one)),
  }));
}

/** An ICMP message, in an ICMP error `payload` is what it quotes. */
export function icmp(
  source: string,
  destination: string,
  message: Omit<Icmp, 'kind'>,
  settings: Settings = {},
): Packet {
  return {
    ...settings,
    source: address(source),
    destination: address(destination),
    body: { kind: 'icmp', ...message },
  };
}

/** A packet of another protocol. */
export function raw(source: string, destination: string, protocol: number, settings: Settings = {}): Packet {
  const { payload = text('something else'), ...rest } = settings;
  return {
    ...rest,
    source: address(source),
    destination: address(destination),
    body: { kind: 'raw', protocol, payload },
  };
}

function between(
  from: string,
  to: string,
  settings: Omit<Settings, 'payload'>,
  body: (sourcePort: number, destinationPort: number) => Packet['body'],
): Packet {
  const source = endpoint(from);
  const destination = endpoint(to);
  return {
    ...settings,
    source: source.address,
    destination: destination.address,
    body: body(source.port, destination.port),
  };
}

/** Reads `192.0.2.1:80` or `[2001:db8::1]:80`. */
export function endpoint(text: string): { address: Address; port: number } {
  const match = /^\[?(.*?)\]?:(\d+)$/.exec(text);
  if (!match) throw new RangeError(`endpoint "${text}": wanted address:port`);
  return { address: address(match[1]!), port: Number(match[2]) };
}

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!parsed) throw new RangeError(`address "${text}": wanted IPv4 or IPv6`);
  return parsed;
}

export const text = (value: string): Uint8Array => Buffer.from(value);

/** `length` bytes that differ from their neighbours. */
export const filler = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + 3) & 0xff);

/** Internet checksum (RFC 1071) of some bytes, on top of a sum. */
export function sum16(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (bytes.length % 2) sum += bytes[bytes.length - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

const checksum = (bytes: Uint8Array, start = 0): number => ~sum16(bytes, start) & 0xffff;

/** Sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1). */
function pseudoSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  return sum16(source, sum16(destination, protocol + (length >>> 16) + (length & 0xffff)));
}

/** The sum of what is behind the IP headers and of its pseudo header: 0xffff where a checksum of TCP, UDP or ICMPv6 is right. */
export function transportSum(packet: Uint8Array, ip: Decoded): number {
  const { source, destination, protocol, transport, length } = ip;
  const ends = [addressToBytes(source), addressToBytes(destination)] as const;
  return sum16(packet.subarray(transport, length), pseudoSum(...ends, protocol, length - transport));
}

/** The IP packet. */
export function encode(packet: Packet): Buffer {
  return familyOf(packet.source) === 4 ? encodeIpv4(packet) : encodeIpv6(packet);
}

/** An IP packet behind an Ethernet header. */
export function ethernet(packet: Uint8Array, macs: { readonly to: string; readonly from: string }): Buffer {
  const type = packet[0]! >> 4 === 6 ? 0x86dd : 0x0800;
  return Buffer.concat([mac(macs.to), mac(macs.from), Buffer.from([type >> 8, type & 0xff]), packet]);
}

export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

function encodeIpv4(packet: Packet): Buffer {
  const {
    options = new Uint8Array(),
    fragment,
    ttl = 64,
    tos = 0,
    id = 0x1234,
    doNotFragment = false,
  } = packet;
  const source = addressToBytes(packet.source);
  const destination = addressToBytes(packet.destination);
  const body = encodeBody(packet, source, destination);
  const header = Buffer.alloc(20 + options.length);
  header[0] = 0x40 | (header.length / 4);
  header[1] = tos;
  header.writeUInt16BE(header.length + body.length, 2);
  header.writeUInt16BE(id & 0xffff, 4);
  header.writeUInt16BE(
    (doNotFragment ? 0x4000 : 0) | (fragment?.more ? 0x2000 : 0) | ((fragment?.offset ?? 0) >> 3),
    6,
  );
  header[8] = ttl;
  header[9] = protocolOf(packet);
  header.set(source, 12);
  header.set(destination, 16);
  header.set(options, 20);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, body]);
}

function encodeIpv6(packet: Packet): Buffer {
  const { extensions = [], fragment, ttl = 64, tos = 0, id = 0x12345678 } = packet;
  const source = addressToBytes(packet.source);
  const destination = addressToBytes(packet.destination);
  const pieces: { number: number; bytes: Buffer }[] = extensions.map(({ kind, bytes }) => {
    const header = Buffer.alloc((2 + bytes.length + 7) & ~7);
    header[1] = header.length / 8 - 1;
    header.set(bytes, 2);
    return { number: extensionNumber[kind], bytes: header };
  });
  if (fragment) {
    const header = Buffer.alloc(8);
    header.writeUInt16BE(fragment.offset | (fragment.more ? 1 : 0), 2);
    header.writeUInt32BE(id, 4);
    pieces.push({ number: fragmentHeader, bytes: header });
  }
  pieces.push({ number: protocolOf(packet), bytes: encodeBody(packet, source, destination) });
  for (const [i, piece] of pieces.slice(0, -1).entries()) piece.bytes[0] = pieces[i + 1]!.number;
  const header = Buffer.alloc(40);
  header.writeUInt32BE(((6 << 28) | (tos << 20)) >>> 0, 0);
  header.writeUInt16BE(
    pieces.reduce((length, { bytes }) => length + bytes.length, 0),
    4,
  );
  header[6] = pieces[0]!.number;
  header[7] = ttl;
  header.set(source, 8);
  header.set(destination, 24);
  return Buffer.concat([header, ...pieces.map(({ bytes }) => bytes)]);
}

function protocolOf({ source, body }: Packet): number {
  if (body.kind === 'raw') return body.protocol;
  if (body.kind === 'icmp') return familyOf(source) === 4 ? protocolNumber.icmp : protocolNumber.icmpv6;
  return protocolNumber[body.kind];
}

function encodeBody(packet: Packet, source: Uint8Array, destination: Uint8Array): Buffer {
  const { body } = packet;
  const payload = body.payload ?? new Uint8Array();
  const pseudo = (length: number) => pseudoSum(source, destination, protocolOf(packet), length);
  switch (body.kind) {
    case 'raw':
      return Buffer.from(payload);
    case 'tcp': {
      const options = body.options ?? new Uint8Array();
      const header = Buffer.alloc(20 + options.length);
      header.writeUInt16BE(body.sourcePort, 0);
      header.writeUInt16BE(body.destinationPort, 2);
      header.writeUInt32BE(body.sequence ?? 0x11223344, 4);
      header.writeUInt32BE(body.acknowledgement ?? (body.flags & tcpFlags.A ? 0x55667788 : 0), 8);
      header[12] = (header.length / 4) << 4;
      header[13] = body.flags;
      header.writeUInt16BE(body.window ?? 0x4000, 14);
      header.set(options, 20);
      const segment = Buffer.concat([header, payload]);
      segment.writeUInt16BE(checksum(segment, pseudo(segment.length)), 16);
      return segment;
    }
    case 'udp': {
      const header = Buffer.alloc(8);
      header.writeUInt16BE(body.sourcePort, 0);
      header.writeUInt16BE(body.destinationPort, 2);
      header.writeUInt16BE(8 + payload.length, 4);
      const datagram = Buffer.concat([header, payload]);
      if (body.checksum !== false)
        datagram.writeUInt16BE(checksum(datagram, pseudo(datagram.length)) || 0xffff, 6);
      return datagram;
    }
    case 'sctp': {
      const header = Buffer.alloc(12);
      header.writeUInt16BE(body.sourcePort, 0);
      header.writeUInt16BE(body.destinationPort, 2);
      header.writeUInt32BE(0x99aabbcc, 4);
      const whole = Buffer.concat([header, ...body.chunks.map(encodeChunk)]);
      if (body.checksum !== false) whole.writeUInt32LE(sctpChecksum(whole), 8);
      return whole;
    }
    case 'icmp': {
      const header = Buffer.alloc(8);
      header[0] = body.type;
      header[1] = body.code;
      header.writeUInt32BE(body.rest ?? 0, 4);
      const message = Buffer.concat([header, payload]);
      const start = familyOf(packet.source) === 6 ? pseudo(message.length) : 0;
      message.writeUInt16BE(checksum(message, start), 2);
      return message;
    }
  }
}

/** The length leaves out what fills it up to a multiple of four. */
function encodeChunk({ type, value = new Uint8Array() }: Chunk): Buffer {
  const chunk = Buffer.alloc((4 + value.length + 3) & ~3);
  chunk[0] = type;
  chunk.writeUInt16BE(4 + value.length, 2);
  chunk.set(value, 4);
  return chunk;
}

/** Cuts a packet into pieces of at most `mtu` bytes each. */
export function fragments(packet: Packet, mtu: number): Packet[] {
  const { extensions, ...rest } = packet;
  const whole = encode(extensions ? rest : packet);
  const header = familyOf(packet.source) === 4 ? 20 + (packet.options?.length ?? 0) : 40;
  const bytes = whole.subarray(header);
  const overhead = encode({
    ...packet,
    ...(familyOf(packet.source) === 6 && { fragment: { offset: 0, more: true } }),
    body: { kind: 'raw', protocol: protocolOf(packet), payload: new Uint8Array() },
  }).length;
  const room = (mtu - overhead) & ~7;
  const pieces: Packet[] = [];
  for (let offset = 0; offset < bytes.length; offset += room) {
    const payload = bytes.subarray(offset, offset + room);
    pieces.push({
      ...packet,
      fragment: { offset, more: offset + room < bytes.length },
      body: { kind: 'raw', protocol: protocolOf(packet), payload },
    });
  }
  return pieces;
}

/** What an IP packet says, as far as it can be read. Offsets are from the start of the IP header. */
export type Decoded = {
  readonly family: 4 | 6;
  readonly source: Address;
  readonly destination: Address;
  readonly ttl: number;
  readonly tos: number;
  readonly doNotFragment: boolean;
  /** By the IP header. */
  readonly length: number;
  readonly protocol: number;
  /** Where the transport header starts. */
  readonly transport: number;
  readonly fragment?: { readonly offset: number; readonly more: boolean; readonly id: number };
};

/** Reads the headers of an IP packet up to the transport header; undefined when they are cut short or wrong. */
export function decode(packet: Uint8Array): Decoded | undefined {
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.byteLength);
  if (bytes.length < 1) return undefined;
  return bytes[0]! >> 4 === 4 ? decodeIpv4(bytes) : bytes[0]! >> 4 === 6 ? decodeIpv6(bytes) : undefined;
}

function decodeIpv4(bytes: Buffer): Decoded | undefined {
  if (bytes.length < 20) return undefined;
  const transport = (bytes[0]! & 15) * 4;
  if (transport < 20) return undefined;
  const word = bytes.readUInt16BE(6);
  const offset = (word & 0x1fff) * 8;
  const more = (word & 0x2000) !== 0;
  return {
    family: 4,
    source: addressFromBytes(bytes.subarray(12, 16)),
    destination: addressFromBytes(bytes.subarray(16, 20)),
    ttl: bytes[8]!,
    tos: bytes[1]!,
    doNotFragment: (word & 0x4000) !== 0,
    length: bytes.readUInt16BE(2),
    protocol: bytes[9]!,
    transport,
    ...((more || offset > 0) && { fragment: { offset, more, id: bytes.readUInt16BE(4) } }),
  };
}

function decodeIpv6(bytes: Buffer): Decoded | undefined {
  if (bytes.length < 40) return undefined;
  let next = bytes[6]!;
  let at = 40;
  let fragment: Decoded['fragment'];
  const passable = new Set<number>(Object.values(extensionNumber));
  while (passable.has(next) || next === fragmentHeader) {
    if (at + 8 > bytes.length) return undefined;
    const after = bytes[at]!;
    if (next === fragmentHeader) {
      const word = bytes.readUInt16BE(at + 2);
      if (word & 0xfff9) {
        fragment = { offset: word & 0xfff8, more: (word & 1) !== 0, id: bytes.readUInt32BE(at + 4) };
      }
      at += 8;
    } else {
      at += (bytes[at + 1]! + 1) * 8;
    }
    next = after;
    if (fragment && fragment.offset > 0) break;
  }
  return {
    family: 6,
    source: addressFromBytes(bytes.subarray(8, 24)),
    destination: addressFromBytes(bytes.subarray(24, 40)),
    ttl: bytes[7]!,
    tos: (bytes.readUInt16BE(0) >> 4) & 0xff,
    doNotFragment: true,
    length: bytes.readUInt16BE(4) + 40,
    protocol: next,
    transport: at,
    ...(fragment && { fragment }),
  };
}
