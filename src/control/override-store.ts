import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Cover } from '../model/cover.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Override } from '../model/override.ts';
import type { Controller } from './controller.ts';
import { openDocument } from './kept-document.ts';
import { stateDirectory } from './state-directory.ts';
import { readDocument, writeDocument } from './whole-file.ts';

/*
 * Two files, because they live as long as different things: what a person decided outlives the machine, what it covers in a
 * table ends with the table.
 */

const version = 1;

/** Of planes that keep nothing. */
const inMemory = new WeakMap<object, readonly Override[]>();

type Place = Pick<Controller, 'directory'>;

/**
 * What people have decided. Throws HG_STATE when the file is there and cannot be read: to take it for empty would put
 * servers that are being worked on back into service.
 */
export function readOverrides(place: Place): readonly Override[] {
  const path = overridesFile(place);
  if (path === undefined) return inMemory.get(place) ?? [];
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
  if (path === undefined) inMemory.set(place, overrides);
  else writeDocument(path, version, { overrides }, 'machine');
}

const covers = openDocument<{ covers: readonly Cover[] }>('covered.json', { covers: [] });

/** What lies over entries of the table that is there. */
export const readCovers = (place: Place): readonly Cover[] => covers.read(place).covers;

/** Whole or not at all; nothing where nothing changes. Throws HG_STATE. */
export const writeCovers = (place: Place, list: readonly Cover[]): void =>
  covers.write(place, { covers: list });

function overridesFile({ directory }: Place): string | undefined {
  const folder = stateDirectory(directory);
  return folder === undefined ? undefined : join(folder, 'overrides.json');
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
