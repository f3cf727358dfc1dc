import type { Family } from '../model/address.ts';

/** Messages of ICMP (RFC 792) and ICMPv6 (RFC 4443) as far as echo requests need them. */

/** What an echo request is known by. */
export type EchoKey = { readonly id: number; readonly sequence: number };

/** What came: the answer to a request, or an error about one. */
export type EchoMessage =
  | (EchoKey & { readonly kind: 'reply'; readonly data: Buffer })
  | (EchoKey & {
      readonly kind: 'error';
      /** Where the request was going. */
      readonly destination: Buffer;
      readonly words: string;
    });

const headerLength = 8;
const ipv6HeaderLength = 40;
const echoRequest = { 4: 8, 6: 128 } as const;
const echoReply = { 4: 0, 6: 129 } as const;
const protocol = { 4: 1, 6: 58 } as const;

/** Errors by type and code. */
const errorWords: Readonly<Record<Family, Readonly<Record<string, string>>>> = {
  4: {
    '3/0': 'network is unreachable',
    '3/1': 'host is unreachable',
    '3/9': 'network is forbidden',
    '3/10': 'host is forbidden',
    '3/13': 'forbidden by a firewall',
    '11/0': 'the way is too long',
  },
  6: {
    '1/0': 'no route to host',
    '1/1': 'forbidden by a firewall',
    '1/3': 'host is unreachable',
    '3/0': 'the way is too long',
  },
};
const errorTypes = { 4: [3, 11], 6: [1, 3] } as const;

/** An echo request; the checksum is that of ICMP, for ICMPv6 it is the kernel's to write. */
export function encodeEcho(family: Family, { id, sequence }: EchoKey, data: Uint8Array): Buffer {
  const message = Buffer.alloc(headerLength + data.length);
  message[0] = echoRequest[family];
  message.writeUInt16BE(id, 4);
  message.writeUInt16BE(sequence, 6);
  message.set(data, headerLength);
  if (family === 4) message.writeUInt16BE(internetChecksum(message), 2);
  return message;
}

/** Reads a packet, from its IP header on for IPv4; undefined for all that is neither a reply nor an error about a request. */
export function decodeEcho(family: Family, packet: Buffer): EchoMessage | undefined {
  const message = family === 4 ? packet.subarray(ipv4HeaderLength(packet)) : packet;
  if (message.length < headerLength) return undefined;
  const type = message[0]!;
  if (type === echoReply[family]) {
    return { kind: 'reply', ...keyOf(message), data: message.subarray(headerLength) };
  }
  if (!(errorTypes[family] as readonly number[]).includes(type)) return undefined;
  const request = requestIn(family, message.subarray(headerLength));
  const code = `${type}/${message[1]}`;
  return request && { kind: 'error', ...request, words: errorWords[family][code] ?? `ICMP error ${code}` };
}

/** The echo request that an error carries: its IP header, and 8 bytes of it at least. */
function requestIn(family: Family, packet: Buffer): (EchoKey & { destination: Buffer }) | undefined {
  const length = family === 4 ? ipv4HeaderLength(packet) : ipv6HeaderLength;
  if (packet.length < length + headerLength) return undefined;
  const isOurs = packet[family === 4 ? 9 : 6] === protocol[family] && packet[length] === echoRequest[family];
  if (!isOurs) return undefined;
  const destination = family === 4 ? packet.subarray(16, 20) : packet.subarray(24, 40);
  return { ...keyOf(packet.subarray(length)), destination };
}

function keyOf(message: Buffer): EchoKey {
  return { id: message.readUInt16BE(4), sequence: message.readUInt16BE(6) };
}

/** The length an IPv4 header says it has; never less than the 20 bytes it must have. */
function ipv4HeaderLength(packet: Buffer): number {
  return Math.max(20, ((packet[0] ?? 0) & 0xf) * 4);
}

/** RFC 1071. */
function internetChecksum(message: Buffer): number {
  let sum = 0;
  for (let i = 0; i < message.length; i += 2) sum += (message[i]! << 8) + (message[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
