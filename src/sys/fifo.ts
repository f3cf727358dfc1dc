import { closeSync, constants, lstatSync, openSync, rmSync, writeSync } from 'node:fs';
import { bindLibc, lastErrno, SystemError } from './ffi.ts';

const cMkfifo = bindLibc('mkfifo', 'int', ['str', 'uint']);

/** A named pipe that is written to and never waited for. */
export type Fifo = {
  /** Writes a line. False: nobody has read for so long that it is full. */
  write(line: string): boolean;
  /** Closes it, and removes it where `openFifo` made it. */
  close(): void;
};

/**
 * Opens a named pipe (fifo(7)), or makes one that its owner alone may read. Held open for reading too, so that what is written
 * waits for a reader that comes later. Throws SystemError, or Error where something else is there.
 */
export function openFifo(path: string): Fifo {
  const made = cMkfifo(path, 0o600) === 0;
  const errno = lastErrno();
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) throw new SystemError(`mkfifo ${path}`, errno);
  if (!found.isFIFO()) throw new Error(`"${path}": wanted a named pipe, found something else`);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  return {
    write(line) {
      try {
        return writeSync(fd, line) > 0;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
        throw error;
      }
    },
    close() {
      closeSync(fd);
      if (made) rmSync(path, { force: true });
    },
  };
}
