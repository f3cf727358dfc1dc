import type { Address } from '../../src/model/address.ts';
import type { DestinationId } from '../../src/model/virtual-service.ts';
import type { Left } from '../kernel/wire.ts';
import {
  chunkTypes,
  encode,
  fragments,
  icmp,
  isTransport,
  type Packet,
  protocolNumber,
  sctp,
  tcp,
  transportSum,
  udp,
} from '../packets/frame.ts';
import { at as endpointOf } from '../packets/services.ts';
import { guePort, type Step } from './scenario.ts';

/** What a client and whoever serves it say to each other. */
export type Talk = {
  /** Which of the services it was begun with. */
  readonly at: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly client: DestinationId;
  readonly virtual: DestinationId;
  /** The client's last packet as it left; nothing where it left for nobody. */
  request?: Left;
};

/** Where the last request went; undefined where it was not translated. */
export function serverOf({ request, virtual, protocol }: Talk): DestinationId | undefined {
  if (!request || request.ip.destination === virtual.address) return undefined;
  const { ip, packet } = request;
  if (ip.protocol !== protocolNumber[protocol]) return undefined;
  const port = packet.readUInt16BE(ip.transport + 2);
  return port === guePort ? undefined : { address: ip.destination, port };
}

/** The last request left in a tunnel. */
export const wentThroughTunnel = (talk: Talk): boolean =>
  talk.request !== undefined &&
  talk.request.ip.destination !== talk.virtual.address &&
  serverOf(talk) === undefined;

/** What SCTP says where TCP has these flags; all else is data. */
const chunkOf: Readonly<Record<string, keyof typeof chunkTypes>> = {
  S: 'init',
  SA: 'init-ack',
  FA: 'shutdown',
  R: 'abort',
  RA: 'shutdown-ack',
  P: 'shutdown-complete',
};

/** A segment with these flags, the chunk in its place or a datagram, with so many bytes in it. */
export function make(
  { protocol, client }: Talk,
  from: DestinationId,
  to: DestinationId,
  flags: string,
  bytes: number,
): Packet {
  const [source, destination] = [endpointOf(from.address, from.port), endpointOf(to.address, to.port)];
  const payload = Buffer.alloc(bytes, 'x');
  if (protocol === 'sctp') {
    const handshake = from === client ? 'cookie-echo' : 'cookie-ack';
    const type = chunkTypes[flags === 'A' ? handshake : (chunkOf[flags] ?? 'data')];
    return sctp(source, destination, [{ type, value: payload }]);
  }
  return protocol === 'tcp'
    ? tcp(source, destination, flags, { payload })
    : udp(source, destination, { payload });
}

/** A datagram that fits no packet; `id` tells it from others. */
export const inPieces = (talk: Talk, from: DestinationId, to: DestinationId, id: number): Packet[] =>
  fragments({ ...make(talk, from, to, '', 2000), id }, 1480);

type ErrorStep = Extract<Step, { readonly do: 'error' }>;

const kinds = {
  4: {
    'too big': { type: 3, code: 4, rest: 1400 },
    'no such port': { type: 3, code: 3 },
    'time exceeded': { type: 11, code: 0 },
  },
  6: {
    'too big': { type: 2, code: 0, rest: 1400 },
    'no such port': { type: 1, code: 4 },
    'time exceeded': { type: 3, code: 0 },
  },
} as const;
const routers = {
  4: { c0: '192.0.2.77', r0: '10.1.0.99' },
  6: { c0: '2001:db8:2::77', r0: 'fd10::99' },
} as const;
const quotedBytes = 128;

/** An ICMP error about what was said last, and where it comes in; undefined where nobody would send one. */
export function errorAbout(
  talk: Talk,
  { about, what, router }: ErrorStep,
): { readonly device: 'c0' | 'r0'; readonly packet: Packet } | undefined {
  const family = talk.client.address.includes(':') ? 6 : 4;
  const kind = kinds[family][what];
  const error = (device: 'c0' | 'r0', from: Address, to: Address, quoted: Uint8Array) => ({
    device,
    packet: icmp(router ? routers[family][device] : from, to, {
      ...kind,
      payload: quoted.subarray(0, quotedBytes),
    }),
  });
  if (about === 'reply') {
    const { client, virtual } = talk;
    return error('c0', client.address, virtual.address, encode(make(talk, virtual, client, 'A', 20)));
  }
  if (!talk.request) return undefined;
  const { ip, packet } = talk.request;
  const isDirect = ip.destination === talk.virtual.address;
  // Who has the virtual address says so to the client, not by way of the director; and IPVS knows no ICMPv6 about tunnels.
  if ((isDirect && !router) || (wentThroughTunnel(talk) && family === 6)) return undefined;
  return error('r0', ip.destination, ip.source, packet);
}

export const shortly = ({ source, destination, body }: Packet): string =>
  body.kind === 'tcp' || body.kind === 'udp' || body.kind === 'sctp'
    ? `${body.kind} ${endpointOf(source, body.sourcePort)} to ${endpointOf(destination, body.destinationPort)}`
    : `${body.kind} ${source} to ${destination}`;

export const briefly = ({ device, ip, packet }: Left): string =>
  `${device} ${ip.source} to ${ip.destination} ${ip.protocol} ${packet.toString('hex', ip.transport, ip.transport + 4)}`;

/** The director's own addresses on the real servers' side. */
const own: readonly string[] = ['10.1.0.1', 'fd10::1'];

/** What left, but for numbers that the host's own packets have, each kernel's to choose. */
export function told({ device, to, packet, ip }: Left): string {
  const bytes = Buffer.from(packet);
  const isGue = ip.protocol === 17 && !ip.fragment && bytes.readUInt16BE(ip.transport + 2) === guePort;
  const isOwn = isGue || !isTransport(ip.protocol);
  // Flow label; identification and header checksum.
  if (ip.family === 6 && isOwn) bytes.writeUInt32BE(bytes.readUInt32BE() & 0x7ff00000);
  if (ip.family === 4 && isOwn) {
    bytes.fill(0, 4, 6);
    bytes.fill(0, 10, 12);
  }
  // The source port is made of a random number, and with it the checksum, where there is one; that is right or stays.
  if (isGue) {
    const checksum = bytes.readUInt16BE(ip.transport + 6);
    if (checksum !== 0 && transportSum(packet, ip) === 0xffff) bytes.writeUInt16BE(1, ip.transport + 6);
    bytes.fill(0, ip.transport, ip.transport + 2);
  }
  // What a real server sent to nobody is quoted to it, a hop on or as it came: docs/reference/differences-from-ipvs.md.
  if ((ip.protocol === 1 || ip.protocol === 58) && own.includes(ip.source)) {
    const quoted = ip.transport + 8;
    bytes.fill(0, ip.transport + 2, ip.transport + 4);
    if (ip.family === 6) bytes.fill(0, quoted + 7, quoted + 8);
    else {
      bytes.fill(0, quoted + 8, quoted + 9);
      bytes.fill(0, quoted + 10, quoted + 12);
    }
  }
  // Identification of a datagram in pieces.
  if (ip.family === 6 && ip.fragment) bytes.fill(0, ip.transport - 4, ip.transport);
  return `${device} ${to} ${bytes.toString('hex')}`;
}

/** The same of a datagram in pieces: IPVS quotes in an error what it has put together. */
export const toldOfPieces = (left: Left): string =>
  left.ip.protocol === 1 || left.ip.protocol === 58 ? `${briefly(left)}`.slice(0, -4) : told(left);
