import { closeSync, openSync } from 'node:fs';
import { errnoName } from './errno.ts';
import { bindLibc, lastErrno } from './ffi.ts';

const cFcntl = bindLibc('fcntl', 'int', ['int', 'int', 'long']);
/** include/uapi/linux/fcntl.h and asm-generic/fcntl.h. */
const [setSignal, setLease] = [10, 1024];
const [readLease, noLease] = [0, 2];
/** Whoever opens the file while the lease is held has the kernel send us this one, which nobody minds. */
const SIGURG = 23;

/**
 * Whether somebody has a file open for writing: then the kernel gives no read lease on it (fcntl(2), F_SETLEASE). The
 * lease is given back at once. Undefined where the file is not there, or cannot be leased: another file system, or
 * another user's file without CAP_LEASE.
 */
export function hasWriter(path: string): boolean | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    cFcntl(file, setSignal, SIGURG);
    const isGiven = cFcntl(file, setLease, readLease) === 0;
    if (!isGiven) return errnoName(lastErrno()) === 'EAGAIN' ? true : undefined;
    cFcntl(file, setLease, noLease);
    return false;
  } finally {
    closeSync(file);
  }
}
