import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from '../model/table.ts';
import type { Timeouts } from '../model/virtual-service.ts';
import { type Prepared, prepareDocument, readDocument } from './whole-file.ts';

/** What the configuration that was applied last made of the table. */
export type Applied = {
  /** Counts the configurations that were applied. */
  readonly generation: number;
  /** The file it came from. */
  readonly file: string;
  /** When, in ISO 8601. */
  readonly at: string;
  readonly table: Table;
  /** Those it set; absent where an earlier build wrote it. */
  readonly timeouts?: Partial<Timeouts>;
  /** The generation it put in force again. */
  readonly rolledBackTo?: number;
};

const version = 1;
const fileIn = (directory: string): string => join(directory, 'applied.json');

/** Undefined when none was applied since the plane was set up, or when another build wrote it. */
export function readApplied(directory: string | undefined): Applied | undefined {
  return directory === undefined ? undefined : readDocument(fileIn(directory), version);
}

/** The file of what was applied where it is there and cannot be used: cut off, or another build's. */
export function unusableApplied(directory: string | undefined): string | undefined {
  if (directory === undefined || readApplied(directory) !== undefined) return undefined;
  return existsSync(fileIn(directory)) ? fileIn(directory) : undefined;
}

/** Whole or not at all, also when the machine stops meanwhile. Throws HG_STATE. */
export function writeApplied(directory: string | undefined, applied: Applied): void {
  prepareApplied(directory, applied)?.commit();
}

/** Written, and in force once it is committed. Throws HG_STATE. */
export function prepareApplied(directory: string | undefined, applied: Applied): Prepared | undefined {
  return directory === undefined ? undefined : prepareDocument(fileIn(directory), version, applied);
}
