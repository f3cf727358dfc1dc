import { createRequire } from 'node:module';
import { errnoName, errnoText } from './errno.ts';

/**
 * The one place that calls C. Everything is synchronous on purpose: an asynchronous foreign call sits in one of libuv's
 * four threads, and a few blocked ones starve the file system and keep the process from exiting. The exception,
 * `syscallAside`, is for calls that work and do not wait.
 *
 * A Buffer whose address is written into memory the kernel reads must stay referenced until the call returns; a local
 * variable that is not used afterwards does not count, the optimiser drops it. Pass such Buffers as `held`.
 */
type Foreign = ((...args: any[]) => any) & { async(...args: any[]): void };
type Library = { func(name: string, result: string, parameters: readonly string[]): Foreign };
type Koffi = {
  load(path: null): Library;
  address(value: ArrayBufferView | ArrayBuffer): bigint;
  view(address: number | bigint, length: number): ArrayBuffer;
  errno(): number;
};

let loaded: { koffi: Koffi; libc: Library } | undefined;

function ffi(): { koffi: Koffi; libc: Library } {
  if (!loaded) {
    const koffi = loadKoffi();
    loaded = { koffi, libc: koffi.load(null) };
  }
  return loaded;
}

/** koffi's own entry spends 5 ms more than its platform package, which holds the same functions (measured, cold start). */
function loadKoffi(): Koffi {
  const require = createRequire(import.meta.url);
  try {
    return require(`@koromix/koffi-${process.platform}-${process.arch}`);
  } catch {
    return require('koffi');
  }
}

/** A failed system call: which one, the error number and its name, and what it was for. */
export class SystemError extends Error {
  readonly syscall: string;
  readonly errno: number;
  /** The name of the error number, e.g. 'EPERM'. */
  readonly code: string;

  constructor(syscall: string, errno: number, context = '') {
    const code = errnoName(errno);
    const text = errnoText(errno);
    super(`${syscall}${context && ` ${context}`}: ${code}${text ? `, ${text}` : ''}`);
    this.name = 'SystemError';
    this.syscall = syscall;
    this.errno = errno;
    this.code = code;
  }
}

/** Whether `error` is a system error with one of these names (ours, or one of Node's own). */
export function isSystemError(error: unknown, ...codes: string[]): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && codes.includes(error.code as string);
}

/**
 * A C library function, bound at its first call. Types are C's ('int', 'long', 'size_t', 'uintptr_t', 'void *', 'str');
 * a 'void *' parameter takes a Buffer, a typed array or null and keeps it alive during the call.
 */
export function bindLibc(
  name: string,
  result: string,
  parameters: readonly string[],
): (...args: any[]) => any {
  let bound: ((...args: any[]) => any) | undefined;
  return (...args) => {
    bound ??= ffi().libc.func(name, result, parameters);
    return bound(...args);
  };
}

/** The error number of the last call made through this module; read it before anything else is called. */
export function lastErrno(): number {
  return ffi().koffi.errno();
}

/** Passes a result on, or throws a SystemError when it is negative. */
export function checked(result: number, syscall: string, context?: string): number {
  if (result < 0) throw new SystemError(syscall, lastErrno(), context);
  return result;
}

/** Where a Buffer or typed array lives. It does not move, but is freed once nothing references the Buffer any more. */
export function addressOf(memory: ArrayBufferView | ArrayBuffer): number {
  return Number(ffi().koffi.address(memory));
}

/**
 * An ArrayBuffer over memory at an address, not copied: writes and Atomics reach it. Touching it after the memory is
 * unmapped ends the process.
 */
export function viewOf(address: number, length: number): ArrayBuffer {
  return ffi().koffi.view(BigInt(address), length);
}

const syscall3 = bindLibc('syscall', 'long', ['long', 'long', 'long', 'long']);
const syscall6 = bindLibc('syscall', 'long', ['long', 'long', 'long', 'long', 'long', 'long', 'long']);

/** What the running call needs alive. A property, because a store to it cannot be optimised away around a foreign call. */
const referenced: { memory: unknown } = { memory: undefined };

/**
 * A raw system call: the result, or minus the error number. Numbers differ by architecture: use it only for calls the C
 * library has no function for. `held` is kept referenced until the call has returned.
 */
export function syscall(number: number, args: readonly number[], held?: unknown): number {
  referenced.memory = held;
  const result: number =
    args.length <= 3
      ? syscall3(number, args[0] ?? 0, args[1] ?? 0, args[2] ?? 0)
      : syscall6(number, args[0]!, args[1]!, args[2]!, args[3]!, args[4] ?? 0, args[5] ?? 0);
  const outcome = result < 0 ? -lastErrno() : result;
  referenced.memory = undefined;
  return outcome;
}

/** What calls in other threads need alive. */
const referencedAside = new Set<unknown>();
let syscall6Aside: Foreign | undefined;

/**
 * A raw system call in one of libuv's threads, while this one goes on: the result, or a negative number that does not say
 * why. For calls in which the kernel computes for long and waits for nobody.
 */
export function syscallAside(number: number, args: readonly number[], held?: unknown): Promise<number> {
  syscall6Aside ??= ffi().libc.func('syscall', 'long', Array(7).fill('long'));
  const memory = { held };
  referencedAside.add(memory);
  const six = [0, 1, 2, 3, 4, 5].map((i) => args[i] ?? 0);
  return new Promise((resolve, reject) => {
    syscall6Aside!.async(number, ...six, (error: unknown, result: number) => {
      referencedAside.delete(memory);
      if (error) reject(error);
      else resolve(result);
    });
  });
}

const cMmap = bindLibc('mmap', 'uintptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'long']);

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
// With MAP_NORESERVE: what is let go of counts as nobody's memory, or fork(2) runs out of it in time.
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x02 | 0x10 | 0x20 | 0x4000;

const cGetPageSize = bindLibc('getpagesize', 'int', []);

/** Bytes of a memory page: 4,096 on x86, up to 65,536 on arm64. */
export function pageBytes(): number {
  return cGetPageSize();
}

/** Memory shared with the kernel, until `close`. */
export type Mapping = { readonly buffer: ArrayBuffer; readonly length: number; close(): void };

/**
 * Maps a descriptor's memory, shared; offset in bytes, page aligned. Typed arrays and Atomics over `buffer` reach it.
 *
 * `close` lets go of the kernel object. The ArrayBuffer cannot be detached (an external one is copied instead), so the
 * pages are replaced by private empty ones: a late access then reads zeros where an unmapped page would end the process.
 */
export function mapMemory(
  fd: number,
  length: number,
  access: 'read' | 'read-write',
  offset = 0,
  context?: string,
): Mapping {
  const protection = access === 'read' ? PROT_READ : PROT_READ | PROT_WRITE;
  const address = mapPages(0, length, protection, MAP_SHARED, fd, offset, context);
  let open = true;
  return {
    buffer: viewOf(address, length),
    length,
    close() {
      if (!open) return;
      open = false;
      mapPages(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, -1, 0, context);
    },
  };
}

function mapPages(
  at: number,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
  context?: string,
): number {
  const address = Number(cMmap(at, length, protection, flags, fd, offset));
  // MAP_FAILED is (void *)-1.
  if (address > Number.MAX_SAFE_INTEGER) throw new SystemError('mmap', lastErrno(), context);
  return address;
}

const cIoctl = bindLibc('ioctl', 'int', ['int', 'ulong', 'void *']);
const cOpen = bindLibc('open', 'int', ['str', 'int', 'uint']);
const cClose = bindLibc('close', 'int', ['int']);
const cRead = bindLibc('read', 'long', ['int', 'void *', 'size_t']);
const cWrite = bindLibc('write', 'long', ['int', 'void *', 'size_t']);
const cClockGetres = bindLibc('clock_getres', 'int', ['int', 'void *']);

/** ioctl with a structure the kernel reads and writes in place. */
export function ioctl(fd: number, request: number, argument: Buffer | null, context?: string): number {
  return checked(cIoctl(fd, request, argument), 'ioctl', context);
}

/** open(2) with raw flags, for those `fs.openSync` does not name (O_PATH, O_TMPFILE). */
export function openPath(path: string, flags: number, mode = 0): number {
  return checked(cOpen(path, flags, mode), 'open', `"${path}"`);
}

/** Closes a descriptor. Throws SystemError, EBADF where it is closed already. */
export function closeFd(fd: number): void {
  checked(cClose(fd), 'close', `descriptor ${fd}`);
}

/** Bytes read into `into`; undefined when the descriptor is non-blocking and holds nothing (EAGAIN). */
export function readFd(fd: number, into: Uint8Array): number | undefined {
  return orUndefinedWhenEmpty(cRead(fd, into, into.byteLength), 'read', fd);
}

/** Bytes written; undefined when the descriptor is non-blocking and full (EAGAIN). */
export function writeFd(fd: number, from: Uint8Array): number | undefined {
  return orUndefinedWhenEmpty(cWrite(fd, from, from.byteLength), 'write', fd);
}

function orUndefinedWhenEmpty(result: number, call: string, fd: number): number | undefined {
  if (result >= 0) return result;
  const errno = lastErrno();
  if (errnoName(errno) === 'EAGAIN') return undefined;
  throw new SystemError(call, errno, `descriptor ${fd}`);
}

/** The resolution of a clock in nanoseconds (clock_getres); CLOCK_MONOTONIC_COARSE (6) is one jiffy. */
export function clockResolutionNanoseconds(clock: number): number {
  const timespec = Buffer.alloc(16);
  checked(cClockGetres(clock, timespec), 'clock_getres', `clock ${clock}`);
  return Number(timespec.readBigInt64LE(0)) * 1e9 + Number(timespec.readBigInt64LE(8));
}
