import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from '../model/table.ts';

/** What the configuration that was applied last made of the table. */
export type Applied = {
  /** Counts the configurations that were applied. */
  readonly generation: number;
  /** The file it came from. */
  readonly file: string;
  /** When, in ISO 8601. */
  readonly at: string;
  readonly table: Table;
};

const version = 1;
const fileIn = (directory: string): string => join(directory, 'applied.json');

/** Undefined when none was applied since the plane was set up, or when another build wrote it. */
export function readApplied(directory: string | undefined): Applied | undefined {
  if (directory === undefined) return undefined;
  try {
    const read = JSON.parse(readFileSync(fileIn(directory), 'utf8')) as Applied & { version: number };
    return read.version === version ? read : undefined;
  } catch {
    // Absent, or cut off half-way on a disk that was full: then nobody knows of a configuration.
    return undefined;
  }
}

/** Whole or not at all, also when the machine stops meanwhile. */
export function writeApplied(directory: string | undefined, applied: Applied): void {
  if (directory === undefined) return;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = fileIn(directory);
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeSync(file, `${JSON.stringify({ version, ...applied })}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
}
