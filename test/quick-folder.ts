import { accessSync, constants } from 'node:fs';
import { tmpdir } from 'node:os';

/** Where tests write thousands of files: in memory where this user may, else where temporary files are. */
export function quickFolder(): string {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}
