import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../model/errors.ts';
import type { Covered, Override } from '../model/override.ts';
import type { Controller } from './controller.ts';
import { stateDirectory } from './state-directory.ts';
import { readDocument, writeDocument } from './whole-file.ts';

/*
 * Two files, because they live as long as different things: what a person decided outlives the machine, what it covers in a
 * table ends with the table.
 */

const version = 1;

/** Of planes that keep nothing. */
const inMemory = new WeakMap<object, { overrides?: readonly Override[]; covered?: readonly Covered[] }>();

type Place = Pick<Controller, 'directory'>;

/**
 * What people have decided. Throws HG_STATE when the file is there and cannot be read: to take it for empty would put
 * servers that are being worked on back into service.
 */
export function readOverrides(place: Place): readonly Override[] {
  const path = overridesFile(place);
  if (path === undefined) return inMemory.get(place)?.overrides ?? [];
  const read = readDocument<{ overrides: readonly Override[] }>(path, version);
  if (read) return read.overrides;
  if (!existsSync(path)) return [];
  throw new HeadgateError(
    'HG_STATE',
    `Cannot read "${path}": wanted a whole document of version ${version}, found something else`,
    { hint: `mend it, or remove it: then no real server is in drain or maintenance` },
  );
}

/** What people have decided, wherever it is kept. Rejects with HG_STATE, and as the daemon's client does. */
export const overridesOf = async (controller: Controller): Promise<readonly Override[]> =>
  controller.overrides ? controller.overrides() : readOverrides(controller);

/** Whole or not at all, also when the machine stops meanwhile; nothing where nothing changes. */
export function writeOverrides(place: Place, overrides: readonly Override[]): void {
  if (same(readOverrides(place), overrides)) return;
  const path = overridesFile(place);
  if (path === undefined) inMemory.set(place, { ...inMemory.get(place), overrides });
  else writeDocument(path, version, { overrides });
}

/** The weights under overrides, of entries of the table that is there. */
export function readCovered(place: Place): readonly Covered[] {
  const path = coveredFile(place);
  if (path === undefined) return inMemory.get(place)?.covered ?? [];
  return readDocument<{ covered: readonly Covered[] }>(path, version)?.covered ?? [];
}

/** Whole or not at all, also when the machine stops meanwhile; nothing where nothing changes. */
export function writeCovered(place: Place, covered: readonly Covered[]): void {
  if (same(readCovered(place), covered)) return;
  const path = coveredFile(place);
  if (path === undefined) inMemory.set(place, { ...inMemory.get(place), covered });
  else writeDocument(path, version, { covered });
}

function overridesFile({ directory }: Place): string | undefined {
  const folder = stateDirectory(directory);
  return folder === undefined ? undefined : join(folder, 'overrides.json');
}

const coveredFile = ({ directory }: Place): string | undefined =>
  directory === undefined ? undefined : join(directory, 'covered.json');

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
