import { Socket } from 'node:net';
import type { Lab } from '../../src/lab/build.ts';
import { addressToBytes, familyOf, parseAddress } from '../../src/model/address.ts';
import { errnoName } from '../../src/sys/errno.ts';
import { bindLibc, closeFd, lastErrno } from '../../src/sys/ffi.ts';
import {
  bindSocket,
  families,
  getSocketOption,
  openSocket,
  setReceiveTimeout,
  setSocketOption,
  socketTypes,
} from '../../src/sys/socket.ts';

/*
 * Clients. A socket belongs to the namespace it is opened in, so a synchronous stretch of a test opens it on a node and
 * Node's own streams carry on with the descriptor.
 */

const cConnect = bindLibc('connect', 'int', ['int', 'void *', 'uint']);
const cSend = bindLibc('send', 'long', ['int', 'void *', 'size_t', 'int']);
const cRecv = bindLibc('recv', 'long', ['int', 'void *', 'size_t', 'int']);
const solSocket = 1;
const soSendTimeout = 21;
const soReuseAddress = 2;
const withoutSignal = 0x4000;

/** struct sockaddr_in or sockaddr_in6. */
export function socketAddress(text: string, port: number): Buffer {
  const address = parseAddress(text)!;
  const bytes = addressToBytes(address);
  const six = familyOf(address) === 6;
  const structure = Buffer.alloc(six ? 28 : 16);
  structure.writeUInt16LE(six ? families.inet6 : families.inet, 0);
  structure.writeUInt16BE(port, 2);
  structure.set(bytes, six ? 8 : 4);
  return structure;
}

export type Target = { readonly address: string; readonly port: number };
export type ClientOptions = {
  /** Address and port to speak from; without them the route's address and a fresh port. */
  readonly from?: { readonly address: string; readonly port?: number };
  readonly timeoutMs?: number;
  /** Socket options before connecting: level, option, value. */
  readonly set?: readonly (readonly [number, number, number])[];
};

let lastPort = 9999;

/**
 * A port nobody spoke from before: the director remembers a client's port for minutes, and a connection left over from
 * an earlier test goes where that test wanted it.
 */
export const freshPort = (): number => ++lastPort;

/** What the kernel answered a socket call with; `code` is an errno name. */
export class SocketError extends Error {
  readonly code: string;
  constructor(call: string, code: string) {
    super(`${call}: ${code}`);
    this.code = code;
  }
}

const failed = (call: string) => new SocketError(call, errnoName(lastErrno()));

/** Calls again what a signal interrupted: a child that ends is one, and calls with a timeout are not restarted (signal(7)). */
function uninterrupted(call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0 || errnoName(lastErrno()) !== 'EINTR') return result;
  }
}

/** A connected socket on a node: its descriptor. Throws SocketError: ECONNREFUSED, EHOSTUNREACH, EINPROGRESS (time). */
export function connectOn(
  lab: Lab,
  node: string,
  type: 'stream' | 'datagram',
  target: Target,
  { from, timeoutMs = 3000, set = [] }: ClientOptions = {},
): number {
  const remote = socketAddress(target.address, target.port);
  return lab.inside(node, () => {
    const fd = openSocket(remote.readUInt16LE(0), socketTypes[type], 0);
    try {
      setReceiveTimeout(fd, timeoutMs);
      setSocketOption(fd, solSocket, soSendTimeout, timeval(timeoutMs));
      setSocketOption(fd, solSocket, soReuseAddress, 1);
      for (const [level, option, value] of set) setSocketOption(fd, level, option, value);
      const own = from?.address ?? (target.address.includes(':') ? '::' : '0.0.0.0');
      bindSocket(fd, socketAddress(own, from?.port ?? freshPort()));
      if (uninterrupted(() => cConnect(fd, remote, remote.length)) < 0) throw failed('connect');
      return fd;
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  });
}

function timeval(ms: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(BigInt(Math.floor(ms / 1000)), 0);
  bytes.writeBigInt64LE(BigInt((ms % 1000) * 1000), 8);
  return bytes;
}

/** Sends all of it. */
export function sendAll(fd: number, bytes: Uint8Array): void {
  for (let sent = 0; sent < bytes.length; ) {
    const rest = bytes.subarray(sent);
    const count = uninterrupted(() => cSend(fd, rest, rest.length, withoutSignal));
    if (count < 0) throw failed('send');
    sent += count;
  }
}

/** What arrives next; empty at the end of a stream. Throws SocketError, EAGAIN when nothing arrives in time. */
export function receive(fd: number, most = 65_536): Buffer {
  const into = Buffer.allocUnsafe(most);
  const count = uninterrupted(() => cRecv(fd, into, most, 0));
  if (count < 0) throw failed('recv');
  return into.subarray(0, count);
}

export const closeSocket = closeFd;

/** The name of the real server behind a TCP echo service: connects, reads the line it says, and closes. */
export function askTcp(lab: Lab, node: string, target: Target, options: ClientOptions = {}): string {
  const fd = connectOn(lab, node, 'stream', target, options);
  try {
    return readLine(fd);
  } finally {
    closeSocket(fd);
  }
}

/** Bytes up to a line end. */
export function readLine(fd: number): string {
  let text = '';
  while (!text.endsWith('\n')) {
    const part = receive(fd);
    if (part.length === 0) throw new Error(`the stream ended after "${text}"`);
    text += part.toString('latin1');
  }
  return text.slice(0, -1);
}

/** Sends a line over an open echo connection and reads it back. */
export function echoLine(fd: number, line: string): string {
  sendAll(fd, Buffer.from(`${line}\n`));
  return readLine(fd);
}

/** Sends one datagram to a UDP service of a real server and returns who answered and what came back. */
export function askUdp(
  lab: Lab,
  node: string,
  target: Target,
  datagram: Uint8Array = Buffer.from('who'),
  options: ClientOptions = {},
): { readonly name: string; readonly echo: Buffer } {
  const fd = connectOn(lab, node, 'datagram', target, options);
  try {
    return exchange(fd, datagram);
  } finally {
    closeSocket(fd);
  }
}

/** One question and answer over an open datagram socket. */
export function exchange(fd: number, datagram: Uint8Array): { readonly name: string; readonly echo: Buffer } {
  sendAll(fd, datagram);
  const reply = receive(fd);
  const blank = reply.indexOf(0x20);
  return { name: reply.subarray(0, blank).toString(), echo: reply.subarray(blank + 1) };
}

/** How the kernel answers `work`: 'ok', or the errno name of the SocketError. */
export function outcome(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    if (error instanceof SocketError) return error.code;
    throw error;
  }
}

/** A Node stream over a connection opened on a node. */
export function streamOn(lab: Lab, node: string, target: Target, options: ClientOptions = {}): Socket {
  return new Socket({ fd: connectOn(lab, node, 'stream', target, options), readable: true, writable: true });
}

const ipProtocol = 0;
const ipv6Protocol = 41;

/** The path MTU the kernel has learned for a connected socket (IP_MTU of ip(7), IPV6_MTU of ipv6(7)). */
export function pathMtu(fd: number, family: 4 | 6): number {
  const option =
    family === 4 ? getSocketOption(fd, ipProtocol, 14, 4) : getSocketOption(fd, ipv6Protocol, 24, 4);
  return option.readInt32LE(0);
}

/** Path MTU discovery that refuses, rather than fragments, what is too long (IP_MTU_DISCOVER, IPV6_MTU_DISCOVER). */
export const neverFragment = (family: 4 | 6): readonly [number, number, number] =>
  family === 4 ? [ipProtocol, 10, 2] : [ipv6Protocol, 23, 2];

/** The time to live, or hop limit, of what a socket sends. */
export const timeToLive = (family: 4 | 6, hops: number): readonly [number, number, number] =>
  family === 4 ? [ipProtocol, 2, hops] : [ipv6Protocol, 16, hops];

/** Sorted tally of names. */
export function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
