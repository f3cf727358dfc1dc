import { errnoName } from './errno.ts';
import { bindLibc, lastErrno } from './ffi.ts';

/*
 * TCP connections that are opened to see whether somebody answers, and reset at once. Node's own sockets are streams with all
 * that belongs to one; thousands of connections a second that never carry a byte need a handshake and nothing else. A socket
 * whose connection was reset makes the next one: to be told of an event, that takes two calls in place of seven.
 */

const socket = bindLibc('socket', 'int', ['int', 'int', 'int']);
const bind = bindLibc('bind', 'int', ['int', 'void *', 'int']);
const connect = bindLibc('connect', 'int', ['int', 'void *', 'int']);
const close = bindLibc('close', 'int', ['int']);
const setsockopt = bindLibc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'int']);
const getsockopt = bindLibc('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
const epollCreate = bindLibc('epoll_create1', 'int', ['int']);
const epollControl = bindLibc('epoll_ctl', 'int', ['int', 'int', 'int', 'void *']);
const epollWait = bindLibc('epoll_wait', 'int', ['int', 'void *', 'int', 'int']);

const [inet, inet6, stream, nonblockingClosedOnExec] = [2, 10, 1, 0o2004000];
const [solSocket, soError, soLinger, solIp, bindWithoutPort] = [1, 4, 13, 0, 24];
const [epollClosedOnExec, epollAdd, epollOut, epollErrorOrEnd, epollEdge] = [0o2000000, 1, 4, 0x18, 2 ** 31];
const inProgress = 115;

/** struct epoll_event, which is packed on x86-64 alone (linux/eventpoll.h). */
const [eventSize, dataAt] = process.arch === 'x64' ? [12, 4] : [16, 8];
const mostEvents = 256;
const events = Buffer.alloc(eventSize * mostEvents);
const one = Buffer.alloc(eventSize);
/** struct linger: on, 0 seconds: to close is to reset. */
const resetOnClose = Buffer.from(new Int32Array([1, 0]).buffer);
/** A socket address of AF_UNSPEC: who connects to it resets the connection and may connect anew (connect(2)). */
const nowhere = Buffer.alloc(16);
const targets = { 4: Buffer.alloc(16), 16: Buffer.alloc(28) };
const yes = Buffer.from(new Int32Array([1]).buffer);
const error = Buffer.alloc(4);
const four = Buffer.from(new Int32Array([4]).buffer);

/** How often the kernel is asked who has answered, milliseconds, while somebody is waited for. */
const askEveryMs = 1;

/** Where somebody is: 4 or 16 bytes of an address. */
export type Door = { readonly address: Uint8Array; readonly port: number };

/** Why a call failed, as Node's errors say it. */
export type KnockError = Error & { readonly code: string; readonly syscall: string };

/** A connection on its way. */
export type Knock = {
  /** Looks whether it has come to an end by now, which `done` is told. */
  look(): void;
  /** Ends it; nobody is told. */
  close(): void;
};

let epoll = -1;
/** Sockets that make further connections, by the length of their addresses; epoll knows them already. */
const idle: { readonly 4: number[]; readonly 16: number[] } = { 4: [], 16: [] };
const mostIdle = 256;
/** Those that nobody needs are closed. */
const idleMs = 500;
let begun = 0;
let isTidying = false;
type Waiting = {
  readonly done: (failure: KnockError | undefined) => void;
  /** Where its socket is kept afterwards; undefined: nowhere. */
  readonly keep: number[] | undefined;
};
const waiting = new Map<number, Waiting>();
let isAsking = false;

/**
 * Begins to connect, from `source` where it is given. `done` is told once, later: undefined when the connection stood, which is
 * closed by a reset then; else why it does not. Throws a KnockError where it cannot begin.
 */
export function knock(
  { address, port }: Door,
  source: Uint8Array | undefined,
  done: (failure: KnockError | undefined) => void,
): Knock {
  if (epoll < 0) epoll = checked(epollCreate(epollClosedOnExec), 'epoll_create1');
  begun++;
  const family = address.length === 4 ? 4 : 16;
  const known = source ? undefined : idle[family].pop();
  const descriptor = known ?? newSocket(family, source);
  try {
    const to = socketAddress(targets[family], address, port);
    if (connect(descriptor, to, to.length) < 0 && lastErrno() !== inProgress)
      throw knockError('connect', lastErrno());
    if (known === undefined) {
      one.writeUInt32LE(epollOut + epollEdge, 0);
      one.writeInt32LE(descriptor, dataAt);
      checked(epollControl(epoll, epollAdd, descriptor, one), 'epoll_ctl');
    }
  } catch (failure) {
    close(descriptor);
    throw failure;
  }
  waiting.set(descriptor, { done, keep: source ? undefined : idle[family] });
  askSoon();
  return {
    look,
    close() {
      // A descriptor that has been closed may be another one's by now.
      if (waiting.get(descriptor)?.done !== done) return;
      waiting.delete(descriptor);
      close(descriptor);
    },
  };
}

function askSoon(): void {
  if (isAsking) return;
  isAsking = true;
  setTimeout(() => {
    isAsking = false;
    look();
    if (waiting.size > 0) askSoon();
  }, askEveryMs);
}

function look(): void {
  for (let count = mostEvents; count === mostEvents; ) {
    count = epollWait(epoll, events, mostEvents, 0);
    const ended: [number, boolean][] = [];
    for (let i = 0; i < count; i++) {
      const at = i * eventSize;
      ended.push([events.readInt32LE(at + dataAt), (events.readUInt32LE(at) & epollErrorOrEnd) === 0]);
    }
    for (const [descriptor, isGood] of ended) end(descriptor, isGood);
  }
}

function end(descriptor: number, isGood: boolean): void {
  const { done, keep } = waiting.get(descriptor) ?? {};
  // An event of a socket that is idle.
  if (!done) return;
  waiting.delete(descriptor);
  if (isGood) {
    if (keep && keep.length < mostIdle && connect(descriptor, nowhere, nowhere.length) === 0) {
      keep.push(descriptor);
      tidyLater();
    } else close(descriptor);
    done(undefined);
    return;
  }
  getsockopt(descriptor, solSocket, soError, error, four);
  const number = error.readInt32LE(0);
  close(descriptor);
  done(number === 0 ? undefined : knockError('connect', number));
}

/** Closes idle sockets when no connection was begun for a while. */
function tidyLater(): void {
  if (isTidying) return;
  isTidying = true;
  const before = begun;
  const timer = setTimeout(() => {
    isTidying = false;
    if (begun !== before) return tidyLater();
    for (const descriptor of [...idle[4].splice(0), ...idle[16].splice(0)]) close(descriptor);
  }, idleMs);
  timer.unref();
}

function newSocket(family: 4 | 16, source: Uint8Array | undefined): number {
  const descriptor = checked(
    socket(family === 4 ? inet : inet6, stream | nonblockingClosedOnExec, 0),
    'socket',
  );
  try {
    setsockopt(descriptor, solSocket, soLinger, resetOnClose, 8);
    if (source) {
      // Else a port is taken from all targets at once (ip(7), IP_BIND_ADDRESS_NO_PORT).
      setsockopt(descriptor, solIp, bindWithoutPort, yes, 4);
      const from = socketAddress(Buffer.alloc(targets[family].length), source, 0);
      checked(bind(descriptor, from, from.length), 'bind');
    }
    return descriptor;
  } catch (failure) {
    close(descriptor);
    throw failure;
  }
}

/** Writes struct sockaddr_in or sockaddr_in6; what it does not write is 0. */
function socketAddress(into: Buffer, address: Uint8Array, port: number): Buffer {
  into.writeUInt16LE(address.length === 4 ? inet : inet6, 0);
  into.writeUInt16BE(port, 2);
  into.set(address, address.length === 4 ? 4 : 8);
  return into;
}

function checked(result: number, syscall: string): number {
  if (result < 0) throw knockError(syscall, lastErrno());
  return result;
}

function knockError(syscall: string, errno: number): KnockError {
  const code = errnoName(errno);
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall });
}
