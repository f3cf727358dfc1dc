import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import { isSystemError } from '../sys/ffi.ts';
import { type Lock, tryLock } from '../sys/lock.ts';
import type { Cluster } from './cluster.ts';

/** Where every lab keeps what it is and what was made for it: a folder each. */
const labsDirectory = '/run/headgate/lab';

export const labDirectory = (lab: string): string => join(labsDirectory, lab);

/** Something that was about to be made, in the order of making. */
export type JournalEntry =
  | { readonly step: 'namespace' | 'segment' | 'node' | 'process'; readonly name: string }
  | { readonly step: 'director' | 'real-server'; readonly name: string; readonly namespace: string }
  | { readonly step: 'done' };

/** What was done to a standing lab on purpose. Ports are `link:node`. */
export type Faults = { readonly killed: readonly string[]; readonly cut: readonly string[] };

export type LabRecord = {
  readonly name: string;
  readonly cluster: Cluster;
  /** Complete: `up` went through. */
  readonly complete: boolean;
  readonly journal: readonly JournalEntry[];
  readonly faults: Faults;
  /** The kernel's numbers of the devices, by `node/device`, for finding one that was renamed. */
  readonly devices: Readonly<Record<string, number>>;
};

/** The names of the labs that stand or that something is left of, sorted. */
export function labNames(): string[] {
  try {
    return readdirSync(labsDirectory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Reads what is known of a lab; undefined when there is none of that name. */
export function readLab(lab: string): LabRecord | undefined {
  const text = readOr(lab, 'cluster.json');
  if (text === undefined) return undefined;
  const journal = (readOr(lab, 'journal') ?? '').split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as JournalEntry];
    } catch {
      // The last line of a builder that was killed while it wrote: what it announces was not begun.
      return [];
    }
  });
  const faults = JSON.parse(readOr(lab, 'faults.json') ?? '{"killed":[],"cut":[]}') as Faults;
  const devices = JSON.parse(readOr(lab, 'devices.json') ?? '{}') as Record<string, number>;
  const complete = journal.some(({ step }) => step === 'done');
  return { name: lab, cluster: JSON.parse(text) as Cluster, complete, journal, faults, devices };
}

function readOr(lab: string, file: string): string | undefined {
  try {
    return readFileSync(join(labDirectory(lab), file), 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/** Writes a file of a lab so that readers see the old one or the new one. */
export function writeLabFile(lab: string, file: string, content: unknown): void {
  const path = join(labDirectory(lab), file);
  writeFileSync(`${path}.new`, `${JSON.stringify(content)}\n`);
  renameSync(`${path}.new`, path);
}

/** Adds a line to a lab's journal; it is on its way to the disk before this returns. */
export function journal(lab: string, entry: JournalEntry): void {
  const fd = openSync(join(labDirectory(lab), 'journal'), 'a', 0o600);
  try {
    appendFileSync(fd, `${JSON.stringify(entry)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Begins a lab's folder. */
export function beginLab(lab: string, cluster: Cluster): void {
  mkdirSync(labDirectory(lab), { recursive: true, mode: 0o700 });
  writeLabFile(lab, 'cluster.json', cluster);
}

/** Removes everything that is kept of a lab. */
export function forgetLab(lab: string): void {
  rmSync(labDirectory(lab), { recursive: true, force: true });
  try {
    rmdirSync(labsDirectory);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

/** The lock under which a lab is changed. Throws HG_LOCK_HELD, naming who holds it. */
export function lockLab(lab: string): Lock {
  const outcome = tryLock(`/run/headgate/lab-${lab}.lock`);
  if ('release' in outcome) return outcome;
  const { holder } = outcome;
  const who = holder ? `process ${holder.pid} (${holder.command})` : 'another process';
  throw new HeadgateError('HG_LOCK_HELD', `Cannot change the lab "${lab}": ${who} is changing it`);
}
