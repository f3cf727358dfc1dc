import type { ConfigurationSource } from '../model/event.ts';
import { type Applied, equalTables, readApplied } from './applied.ts';
import type { Controller } from './controller.ts';
import type { NoteEvent } from './events.ts';
import type { FileText } from './file-texts.ts';
import {
  type Comparable,
  type Generation,
  generationNumbers,
  namesKept,
  readGeneration,
  stepsBetween,
  summaryOf,
  writeGeneration,
} from './generations.ts';
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
};

/** Whether a configuration is the one that is in force. Timeouts that it leaves out stay as they are. */
export function isSame(
  applied: Applied,
  { table, timeouts }: Pick<Wanted, 'table' | 'timeouts'>,
  rolledBackTo: number | undefined,
): boolean {
  return (
    applied.rolledBackTo === rolledBackTo &&
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

/** Keeps a generation that came into force, and tells of it. */
export async function noteGeneration(
  controller: Controller,
  wanted: Wanted,
  { generation, isNew, steps }: Outcome,
  { file, now, by = 'apply', texts = [], rolledBackTo, instead, note, failed }: Origin,
): Promise<void> {
  if (!isNew && steps === 0) return;
  const directory = stateDirectory(controller.directory);
  const { timeouts } = await controller.read();
  const { table, own } = wanted;
  const made: Comparable = { table, timeouts, names: namesKept(wanted.names, table) };
  const summary = isNew
    ? summaryOf(stepsBetween(newestGeneration(directory), made))
    : `${steps} ${steps === 1 ? 'entry' : 'entries'} as it says again`;
  if (isNew)
    try {
      writeGeneration(directory, {
        ...made,
        ...{ generation, at: now.toISOString(), file, by, summary, own, files: texts },
        ...(rolledBackTo !== undefined && { rolledBackTo }),
        ...(instead !== undefined && { instead }),
      });
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
