import { isSystemError } from '../ffi.ts';
import { bpf, newAttributes, putAddress } from './call.ts';
import { type MapHandle, openMap } from './map.ts';
import { openProgram, type ProgramHandle } from './program.ts';

/** Pins a map, program or link at a path in a bpffs: it outlives the process. Throws SystemError EEXIST, ENOENT, EINVAL. */
export function pin(fd: number, path: string): void {
  const attributes = newAttributes(16);
  const name = Buffer.from(`${path}\0`);
  putAddress(attributes, 0, name);
  attributes.writeInt32LE(fd, 8);
  bpf('OBJ_PIN', attributes, `pin at "${path}"`, name);
}

/** A descriptor for what is pinned at a path. Throws SystemError ENOENT. */
export function openPinned(path: string): number {
  const attributes = newAttributes(16);
  const name = Buffer.from(`${path}\0`);
  putAddress(attributes, 0, name);
  return bpf('OBJ_GET', attributes, `open "${path}"`, name);
}

/** Opens a pinned map. Throws SystemError, ENOENT where nothing is pinned. */
export function openPinnedMap(path: string): MapHandle {
  return openMap(openPinned(path));
}

/** Opens a pinned program. Throws as `openPinnedMap`. */
export function openPinnedProgram(path: string): ProgramHandle {
  return openProgram(openPinned(path));
}

/** Does something with what is pinned in a folder that other processes clear away as well: nothing where one was sooner. */
export function unlessGone(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
}
