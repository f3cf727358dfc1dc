import { count } from '../model/count.ts';
import type { ConfigurationSource } from '../model/event.ts';
import type { Timeouts } from '../model/virtual-service.ts';
import { type Applied, equalTables, readApplied } from './applied.ts';
import type { Controller } from './controller.ts';
import type { NoteEvent } from './events.ts';
import type { FileText } from './file-texts.ts';
import {
  type Comparable,
  comparable,
  type Generation,
  generationNumbers,
  readGeneration,
  summaryBetween,
  writeGeneration,
} from './generations.ts';
import { equalSettings } from './settings.ts';
import { stateDirectory } from './state-directory.ts';
import type { Wanted } from './wanted.ts';

/** Where a configuration that is put in force comes from. */
export type Origin = {
  readonly file: string;
  readonly now: Date;
  /** Default: apply. */
  readonly by?: ConfigurationSource;
  /** What its files said. */
  readonly texts?: readonly FileText[];
  readonly rolledBackTo?: number;
  /** Where it is rolled back: the fingerprint of the files that are not in force. */
  readonly instead?: string;
  readonly note?: NoteEvent;
  /** Told why the generation could not be kept; it is in force all the same. */
  readonly failed?: (reason: string) => void;
};

/** What came of putting a configuration in force. */
type Outcome = {
  readonly generation: number;
  readonly isNew: boolean;
  /** What was done to the data plane. */
  readonly steps: number;
  /** As they are in it now. */
  readonly timeouts: Timeouts;
};

/** Whether a configuration is the one that is in force. Timeouts that it leaves out stay as they are. */
export function isSame(
  applied: Applied,
  { table, timeouts, settings }: Pick<Wanted, 'table' | 'timeouts' | 'settings'>,
  rolledBackTo: number | undefined,
): boolean {
  return (
    applied.rolledBackTo === rolledBackTo &&
    equalSettings(applied.fingerprint, settings) &&
    equalTables(applied.table, table) &&
    (['tcp', 'tcpFin', 'udp'] as const).every(
      (name) => timeouts[name] === undefined || timeouts[name] === (applied.timeouts ?? timeouts)[name],
    )
  );
}

/** What was applied last. A plane that keeps nothing has only what is kept of its generations. */
export function appliedBefore(planeDirectory: string | undefined): Applied | undefined {
  if (planeDirectory !== undefined) return readApplied(planeDirectory);
  return newestGeneration(stateDirectory(planeDirectory));
}

/** The newest generation that is kept. */
export function newestGeneration(directory: string | undefined): Generation | undefined {
  const [newest] = generationNumbers(directory);
  return newest === undefined ? undefined : readGeneration(directory, newest);
}

/** The generation this process kept last: who holds the lock for long is asked to compare with it again and again. */
let last: { readonly directory: string; readonly generation: number; readonly made: Comparable } | undefined;

/** The newest generation that is kept, as far as the next one is compared with it. */
export function comparedBefore(directory: string | undefined): Comparable | undefined {
  const [newest] = generationNumbers(directory);
  if (last && last.directory === directory && last.generation === newest) return last.made;
  const kept = newestGeneration(directory);
  return kept && comparable(kept);
}

/** Keeps a generation that came into force, and tells of it. */
export async function noteGeneration(
  controller: Controller,
  wanted: Wanted,
  { generation, isNew, steps, timeouts }: Outcome,
  { file, now, by = 'apply', texts = [], rolledBackTo, instead, note, failed }: Origin,
): Promise<void> {
  if (!isNew && steps === 0) return;
  const directory = stateDirectory(controller.directory);
  const { table, own, names, settings } = wanted;
  const made: Comparable = { table, timeouts, names, settings };
  const summary = isNew
    ? summaryBetween(comparedBefore(directory), made)
    : `the same rules, ${count(steps, 'change')} of what is in force`;
  if (isNew)
    try {
      writeGeneration(directory, {
        ...{ table, timeouts, names },
        ...{ generation, at: now.toISOString(), file, by, summary, own, files: texts },
        ...(settings && { fingerprint: settings.fingerprint() }),
        ...(rolledBackTo !== undefined && { rolledBackTo }),
        ...(instead !== undefined && { instead }),
      });
      if (directory !== undefined) last = { directory, generation, made };
    } catch (error) {
      failed?.(error instanceof Error ? error.message : String(error));
    }
  if (rolledBackTo !== undefined && by === 'rollback') {
    const what = `generation ${generation}, rollback to ${rolledBackTo}: ${summary}`;
    note?.({ kind: 'rolled-back', what, generation, to: rolledBackTo, summary });
  } else {
    const what = `generation ${generation} of ${file} by ${by}: ${summary}`;
    note?.({ kind: 'configuration-applied', what, generation, file, by, summary });
  }
}
