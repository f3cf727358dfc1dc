import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { finder } from '../model/plan.ts';
import { equalDestination, equalService } from '../model/service-id.ts';
import type { ServiceEntry, Table } from '../model/table.ts';
import type { Timeouts } from '../model/virtual-service.ts';
import { documentText, type Prepared, prepareWhole, readDocument, stampOf } from './whole-file.ts';

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
  /** Of what it says beside the table; absent where nobody knew. */
  readonly fingerprint?: string;
  /** The generation it put in force again. */
  readonly rolledBackTo?: number;
};

const version = 1;
const fileIn = (directory: string): string => join(directory, 'applied.json');

/** What was read or written last: who holds the lock for long asks again and again. */
let last: { readonly stamp: string; readonly applied: Applied } | undefined;

/** Undefined when none was applied since the plane was set up, or when another build wrote it. */
export function readApplied(directory: string | undefined): Applied | undefined {
  if (directory === undefined) return undefined;
  const path = fileIn(directory);
  const stamp = stampOf(path);
  if (stamp === undefined) return undefined;
  if (last?.stamp === stamp) return last.applied;
  const applied = readDocument<Applied>(path, version);
  if (applied) last = { stamp, applied };
  return applied;
}

/** The file of what was applied where it is there and cannot be used: cut off, or another build's. */
export function unusableApplied(directory: string | undefined): string | undefined {
  if (directory === undefined || readApplied(directory) !== undefined) return undefined;
  return existsSync(fileIn(directory)) ? fileIn(directory) : undefined;
}

/** Whole or not at all. Throws HG_STATE. */
export function writeApplied(directory: string | undefined, applied: Applied): void {
  prepareApplied(directory, applied)?.commit();
}

/** Written, and in force once it is committed. Throws HG_STATE. */
export function prepareApplied(directory: string | undefined, applied: Applied): Prepared | undefined {
  if (directory === undefined) return undefined;
  const path = fileIn(directory);
  const prepared = prepareWhole(path, documentText(version, applied), 'process');
  return {
    ...prepared,
    commit() {
      prepared.commit();
      const stamp = stampOf(path);
      last = stamp === undefined ? undefined : { stamp, applied };
    },
  };
}

/**
 * A table with the services of another one that are as they are there: whoever compares it with that one, or with one that has
 * services of it, knows them by themselves.
 */
export function recognised(found: Table, known: Table): Table {
  const before = finder(known.services);
  return {
    services: found.services.map((entry, place) => {
      const other = before(entry.service.id, place);
      return other && equalEntries(entry, other) ? other : entry;
    }),
  };
}

/** Whether two tables have the same entries in the same order. */
export function equalTables(a: Table, b: Table): boolean {
  return (
    a.services.length === b.services.length &&
    a.services.every((entry, i) => equalEntries(entry, b.services[i]!))
  );
}

function equalEntries(a: ServiceEntry, b: ServiceEntry): boolean {
  return (
    a === b ||
    (equalService(a.service, b.service) &&
      a.destinations.length === b.destinations.length &&
      a.destinations.every((destination, i) => equalDestination(destination, b.destinations[i]!)))
  );
}
