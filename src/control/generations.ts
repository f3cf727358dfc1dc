import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ConfigurationSource } from '../model/event.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Counters, Observed, ServiceEntry, Table } from '../model/table.ts';
import type { Timeouts } from '../model/virtual-service.ts';
import { readApplied } from './applied.ts';
import { changeBetween, outlineBetween, type Step } from './change.ts';
import { configurationIn, type FileText } from './file-texts.ts';
import { type SettingStep, type Settings, settingSteps, settingsKept } from './settings.ts';
import { stateDirectory } from './state-directory.ts';
import { type Names, plainNames } from './wanted.ts';
import { documentText, readDocument, writeWhole } from './whole-file.ts';

/** Generations that are kept; the oldest goes when another one comes. */
export const keptGenerations = 20;
/** Bytes they may have together, but for the newest two, which are kept whatever they have. */
const keptBytes = 256 * 1024 * 1024;

/** A configuration that was put in force, with all it takes to do so again. */
export type Generation = {
  readonly generation: number;
  /** When, in ISO 8601. */
  readonly at: string;
  readonly file: string;
  readonly by: ConfigurationSource;
  /** The generation it puts in force again. */
  readonly rolledBackTo?: number;
  /** Where it is rolled back: the fingerprint of the files that are not in force. */
  readonly instead?: string;
  /** Against the generation before, in one line. */
  readonly summary: string;
  readonly table: Table;
  /** As they were when it was in force, whether it set them or not. */
  readonly timeouts: Timeouts;
  readonly own: boolean;
  /** What services and real servers are called, by serviceKey and `serviceKey destinationKey`. */
  readonly names: Readonly<Record<string, string>>;
  /** The files it was made of, the first one first. */
  readonly files: readonly FileText[];
  /** Of what it says beside the table; absent where nobody knew. */
  readonly fingerprint?: string;
};

const version = 1;
const folderIn = (directory: string): string => join(directory, 'generations');
/** Where a generation is kept. */
export const generationPath = (directory: string, generation: number): string =>
  join(folderIn(directory), `${generation}.json`);

/** The numbers of those that are kept, newest first. */
export function generationNumbers(directory: string | undefined): number[] {
  if (directory === undefined) return [];
  try {
    const names = readdirSync(folderIn(directory));
    const numbers = names.flatMap((name) => /^([1-9]\d{0,14})\.json$/.exec(name)?.[1] ?? []);
    return numbers.map(Number).sort((a, b) => b - a);
  } catch {
    return [];
  }
}

/** Undefined where it is not kept. */
export function readGeneration(directory: string | undefined, generation: number): Generation | undefined {
  return directory === undefined ? undefined : readDocument(generationPath(directory, generation), version);
}

/** Those that are kept, newest first. */
export function readGenerations(directory: string | undefined): Generation[] {
  return generationNumbers(directory).flatMap((one) => readGeneration(directory, one) ?? []);
}

/** Keeps a generation, and lets go of those that are too many. Throws the error of the file system. */
export function writeGeneration(
  directory: string | undefined,
  { names, ...generation }: Omit<Generation, 'names'> & { readonly names: Names },
): void {
  if (directory === undefined) return;
  const path = generationPath(directory, generation.generation);
  try {
    const text = documentText(version, generation, { names: namesText(names, generation.table) });
    writeWhole(path, text, 'machine');
  } catch (error) {
    // Half of it would take the place that the next one needs.
    rmSync(`${path}.new`, { force: true });
    throw error;
  }
  let bytes = 0;
  generationNumbers(directory).forEach((one, index) => {
    const path = generationPath(directory, one);
    bytes += statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (index >= keptGenerations || (index >= 2 && bytes > keptBytes)) rmSync(path, { force: true });
  });
}

/** A number that no configuration of this director has had, though the plane, or what is kept, was removed. */
export function nextGeneration(planeDirectory: string | undefined): number {
  const applied = readApplied(planeDirectory)?.generation ?? 0;
  const [kept = 0] = generationNumbers(stateDirectory(planeDirectory));
  return Math.max(applied, kept) + 1;
}

const namesTexts = new WeakMap<ServiceEntry, string>();

/** Names as they are kept: those that say more than the address does, as JSON. An entry has the names it came with. */
function namesText(names: Names, { services }: Table): string {
  const texts = services.map((entry) => {
    const text = namesTexts.get(entry) ?? membersText(namesIn(entry, names));
    namesTexts.set(entry, text);
    return text;
  });
  return `{${texts.filter((text) => text !== '').join(',')}}`;
}

const membersText = (members: Readonly<Record<string, string>>): string =>
  JSON.stringify(members).slice(1, -1);

function namesIn({ service, destinations }: ServiceEntry, names: Names): Record<string, string> {
  const kept: Record<string, string> = {};
  const key = serviceKey(service.id);
  const name = names.service(service.id);
  if (name !== key) kept[key] = name;
  for (const destination of destinations) {
    const plain = destinationKey(destination);
    const realServer = names.realServer(service.id, destination);
    if (realServer !== plain) kept[`${key} ${plain}`] = realServer;
  }
  return kept;
}

/** Names that were kept. */
export function namesFrom(kept: Readonly<Record<string, string>>): Names {
  return {
    service: (id) => kept[serviceKey(id)] ?? plainNames.service(id),
    serviceName: (id) => (kept[serviceKey(id)] ?? plainNames.service(id)).replace(` (${serviceKey(id)})`, ''),
    realServer: (id, destination) =>
      kept[`${serviceKey(id)} ${destinationKey(destination)}`] ?? plainNames.realServer(id, destination),
  };
}

/** The part of a generation that is compared with another one's. */
export type Comparable = Pick<Generation, 'table' | 'timeouts'> & {
  readonly names: Names;
  readonly settings?: Settings | undefined;
};

/** What of a generation that is kept is compared. */
export const comparable = (generation: Generation): Comparable => ({
  table: generation.table,
  timeouts: generation.timeouts,
  names: namesFrom(generation.names),
  settings: settingsIn(generation),
});

/** What a generation says beside its table. */
export const settingsIn = ({ fingerprint, files }: Generation): Settings | undefined =>
  fingerprint === undefined ? undefined : settingsKept(fingerprint, () => configurationIn(files));

/** The steps from one generation to another; from nothing where there is none before. Pure. */
export function stepsBetween(
  before: Comparable | undefined,
  after: Comparable,
): readonly (Step | SettingStep)[] {
  const { wanted, there } = ends(before, after);
  return [
    ...changeBetween({ ...wanted, own: true }, there).steps,
    ...settingSteps(before?.settings, after.settings),
  ];
}

function ends(before: Comparable | undefined, { table, timeouts, names }: Comparable) {
  return before
    ? {
        wanted: { table, timeouts, names: namesOfEither(names, before.names) },
        there: idle(before.table, before.timeouts),
      }
    : { wanted: { table, timeouts, names }, there: idle({ services: [] }, timeouts) };
}

/** What is gone has only the name it had. */
function namesOfEither(names: Names, before: Names): Names {
  return {
    service: (id) => (names.service(id) === serviceKey(id) ? before : names).service(id),
    serviceName: (id) => (names.serviceName(id) === serviceKey(id) ? before : names).serviceName(id),
    realServer: (id, one) =>
      (names.realServer(id, one) === destinationKey(one) ? before : names).realServer(id, one),
  };
}

/** Steps that a summary names. */
const toldSteps = 3;

/** The steps between in one line: `+2 ~1 -0: web/web3 weight 3 -> 0`. Pure. */
export function summaryBetween(before: Comparable | undefined, after: Comparable): string {
  const { wanted, there } = ends(before, after);
  const { signs, first: rules } = outlineBetween(wanted, there, toldSteps);
  const settings = settingSteps(before?.settings, after.settings);
  const first = [...rules, ...settings].slice(0, toldSteps);
  if (first.length === 0) return 'nothing changed';
  const told = first.map(({ sign, what, detail }) =>
    `${sign === '~' ? '' : `${sign} `}${what} ${detail}`.trimEnd(),
  );
  const changed = signs['~'] + settings.length;
  const untold = signs['+'] + changed + signs['-'] - first.length;
  const more = untold > 0 ? `; and ${untold} more` : '';
  return `+${signs['+']} ~${changed} -${signs['-']}: ${told.join('; ')}${more}`;
}

const none: Counters = { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n };

/** A table as a plane would show it that has forwarded nothing yet. */
function idle({ services }: Table, timeouts: Timeouts): Observed {
  return {
    services: services.map(({ service, destinations }) => ({
      service,
      counters: none,
      rates: none,
      destinations: destinations.map((destination) => ({
        destination,
        activeConnections: 0,
        inactiveConnections: 0,
        persistentConnections: 0,
        counters: none,
        rates: none,
      })),
    })),
    timeouts,
    connectionTableSize: 0,
  };
}
