import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Writes a file whole or not at all, also when the machine stops meanwhile; its folder is made where it is missing. Throws
 * the error of the file system, and then the file is as it was.
 */
export function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  // The name is in the folder, and the folder is not on the disk before this.
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** What `writeDocument` wrote; undefined when there is nothing, or another build wrote it, or it was cut off. */
export function readDocument<T extends object>(path: string, version: number): T | undefined {
  try {
    const read = JSON.parse(readFileSync(path, 'utf8')) as T & { version: number };
    return read.version === version ? read : undefined;
  } catch {
    return undefined;
  }
}

/** Writes a JSON document with the version of its form, whole or not at all. */
export function writeDocument(path: string, version: number, value: object): void {
  writeWhole(path, `${JSON.stringify({ version, ...value })}\n`);
}
