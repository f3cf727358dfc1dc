import { errnoName } from './errno.ts';
import { bindLibc, checked, lastErrno, SystemError } from './ffi.ts';

/** Sockets of the families Node has no API for. All calls are synchronous; a descriptor is the caller's to close. */

export const families = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17 } as const;
export const socketTypes = { stream: 1, datagram: 2, raw: 3 } as const;
const closeOnExec = 0o2000000;
const doNotWait = 0x40;
const reportTruncation = 0x20;
const solSocket = 1;
const soReceiveBuffer = 8;
const soReceiveTimeout = 20;
const pollIn = 1;

const cSocket = bindLibc('socket', 'int', ['int', 'int', 'int']);
const cBind = bindLibc('bind', 'int', ['int', 'void *', 'uint']);
const cSendto = bindLibc('sendto', 'long', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']);
const cRecvfrom = bindLibc('recvfrom', 'long', ['int', 'void *', 'size_t', 'int', 'void *', 'void *']);
const cSetsockopt = bindLibc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
const cGetsockopt = bindLibc('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
const cPoll = bindLibc('poll', 'int', ['void *', 'ulong', 'int']);

/** Opens a socket, closed on exec. Throws SystemError. */
export function openSocket(family: number, type: number, protocol: number): number {
  return checked(
    cSocket(family, type | closeOnExec, protocol),
    'socket',
    `family ${family}, protocol ${protocol}`,
  );
}

/** Binds a socket to an address of its family (struct sockaddr). Throws SystemError. */
export function bindSocket(fd: number, address: Buffer): void {
  checked(cBind(fd, address, address.length), 'bind');
}

/** Sends one datagram, to `address` or where the socket is bound. False: the queue is full. */
export function sendDatagram(fd: number, datagram: Uint8Array, address: Buffer | null = null): boolean {
  const sent = cSendto(fd, datagram, datagram.length, doNotWait, address, address?.length ?? 0);
  if (sent >= 0) return true;
  const code = errnoName(lastErrno());
  if (code === 'EAGAIN' || code === 'ENOBUFS') return false;
  throw new SystemError('sendto', lastErrno());
}

/**
 * Receives one datagram into `into` and returns its true length, which is greater than the Buffer's when it was cut.
 * Undefined: nothing has arrived (at once, or within the socket's receive timeout with `wait`). `from` receives the
 * sender's address when given.
 */
export function receiveDatagram(
  fd: number,
  into: Buffer,
  { wait = false, from = null }: { wait?: boolean; from?: Buffer | null } = {},
): number | undefined {
  const flags = reportTruncation | (wait ? 0 : doNotWait);
  const length = from ? Buffer.alloc(4) : null;
  length?.writeUInt32LE(from!.length);
  for (;;) {
    const received: number = cRecvfrom(fd, into, into.length, flags, from, length);
    if (received >= 0) return received;
    const errno = lastErrno();
    const code = errnoName(errno);
    if (code === 'EINTR') continue;
    if (code === 'EAGAIN') return undefined;
    throw new SystemError('recvfrom', errno);
  }
}

/** Sets an option of setsockopt(2), of which a number is an int. Throws SystemError. */
export function setSocketOption(fd: number, level: number, option: number, value: Buffer | number): void {
  let bytes = value;
  if (typeof bytes === 'number') {
    bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value as number);
  }
  checked(cSetsockopt(fd, level, option, bytes, bytes.length), 'setsockopt', `${level}/${option}`);
}

/** The value of an option in at most `length` bytes (getsockopt(2)). Throws SystemError. */
export function getSocketOption(fd: number, level: number, option: number, length: number): Buffer {
  const value = Buffer.alloc(length);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(length);
  checked(cGetsockopt(fd, level, option, value, size), 'getsockopt', `${level}/${option}`);
  return value.subarray(0, size.readUInt32LE(0));
}

/** Makes a waiting receive give up after this time. */
export function setReceiveTimeout(fd: number, timeoutMs: number): void {
  const timeval = Buffer.alloc(16);
  timeval.writeBigInt64LE(BigInt(Math.floor(timeoutMs / 1000)), 0);
  timeval.writeBigInt64LE(BigInt(Math.floor((timeoutMs % 1000) * 1000)), 8);
  setSocketOption(fd, solSocket, soReceiveTimeout, timeval);
}

/** Asks for a receive buffer; the kernel caps it at net.core.rmem_max. */
export function setReceiveBuffer(fd: number, bytes: number): void {
  setSocketOption(fd, solSocket, soReceiveBuffer, bytes);
}

/** SO_SNDBUF, SO_RCVBUF and what goes beyond net.core.wmem_max and rmem_max (SO_SNDBUFFORCE, SO_RCVBUFFORCE). */
const bufferOptions = {
  send: { usual: 7, force: 32 },
  receive: { usual: soReceiveBuffer, force: 33 },
} as const;

/** Asks for a buffer, beyond net.core.rmem_max and wmem_max where this process may (CAP_NET_ADMIN), else up to it. */
export function growBuffer(fd: number, way: 'receive' | 'send', bytes: number): void {
  const { usual, force } = bufferOptions[way];
  try {
    setSocketOption(fd, solSocket, force, bytes);
  } catch {
    setSocketOption(fd, solSocket, usual, bytes);
  }
}

/** Waits until a descriptor is readable; false after the timeout. Blocks the event loop: for tests and short waits. */
export const waitReadable = (fd: number, timeoutMs: number): boolean => waitAnyReadable([fd], timeoutMs);

/** Waits until one of several descriptors is readable; false after the timeout. Blocks the event loop. */
export function waitAnyReadable(fds: readonly number[], timeoutMs: number): boolean {
  const pollfds = Buffer.alloc(Math.max(fds.length, 1) * 8);
  for (const [i, fd] of fds.entries()) {
    pollfds.writeInt32LE(fd, i * 8);
    pollfds.writeInt16LE(pollIn, i * 8 + 4);
  }
  const result = cPoll(pollfds, fds.length, Math.max(0, Math.ceil(timeoutMs)));
  if (result < 0 && errnoName(lastErrno()) === 'EINTR') return false;
  return checked(result, 'poll') > 0;
}
