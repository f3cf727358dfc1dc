import { HeadgateError } from '../model/errors.ts';
import type { Controller } from './controller.ts';
import { currentTexts, type FileText, fingerprintOf } from './file-texts.ts';
import { type Generation, generationNumbers, generationPath, readGeneration } from './generations.ts';
import { appliedBefore, newestGeneration, type Origin } from './note-generation.ts';
import { type Intention, intend, type Order } from './reconcile.ts';
import { equalSettings } from './settings.ts';
import { stateDirectory } from './state-directory.ts';
import { type Again, wantedAgain } from './wanted-again.ts';

/** A generation that is kept. Throws HG_GENERATION, which names those there are, or the file that cannot be read. */
export function keptGeneration(planeDirectory: string | undefined, generation: number): Generation {
  const directory = stateDirectory(planeDirectory);
  const found = readGeneration(directory, generation);
  if (found) return found;
  const numbers = generationNumbers(directory);
  if (directory !== undefined && numbers.includes(generation))
    throw new HeadgateError(
      'HG_GENERATION',
      `Cannot read "${generationPath(directory, generation)}": wanted a whole document, found one that is cut off, or another build's`,
    );
  throw new HeadgateError(
    'HG_GENERATION',
    `Cannot find generation "${generation}": ${numbers.length === 0 ? 'none is kept yet' : `there are ${numbers.join(', ')}`}`,
  );
}

/** What rolling back would do. `isIdle`: nothing, because what it asks for is in force. */
export type Rollback = {
  readonly to: Generation;
  readonly again: Again;
  readonly intention: Intention;
  readonly isIdle: boolean;
};

/** What putting an earlier generation in force again would do. Changes nothing. */
export async function intendRollback(
  controller: Controller,
  to: Generation,
  order: Order = {},
): Promise<Rollback> {
  const again = wantedAgain(to);
  const { wanted } = again;
  const intention = await intend(controller, wanted, order);
  const applied = appliedBefore(controller.directory);
  const isThere =
    applied !== undefined &&
    JSON.stringify(applied.table) === JSON.stringify(wanted.table) &&
    equalSettings(applied.fingerprint, wanted.settings);
  return { to, again, intention, isIdle: isThere && intention.steps.length === 0 };
}

/** Where the configuration of a rollback comes from. `file` is the one it puts aside. */
export function rollbackOrigin(
  to: Generation,
  file: string,
): Required<Pick<Origin, 'by' | 'texts' | 'rolledBackTo' | 'instead'>> {
  const instead = fingerprintOf(currentTexts(file));
  return { by: 'rollback', texts: to.files, rolledBackTo: to.generation, instead };
}

/**
 * The generation that a person has put in force in place of what the files say, as long as these say the same; undefined
 * when the files count.
 */
export function standingRollback(
  planeDirectory: string | undefined,
  texts: readonly FileText[],
): Generation | undefined {
  const newest = newestGeneration(stateDirectory(planeDirectory));
  return newest?.rolledBackTo !== undefined && newest.instead === fingerprintOf(texts) ? newest : undefined;
}
