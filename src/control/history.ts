import type { Step } from './change.ts';
import {
  comparable,
  type Generation,
  generationNumbers,
  readGeneration,
  readGenerations,
  stepsBetween,
} from './generations.ts';
import { appliedBefore } from './note-generation.ts';
import { keptGeneration } from './rollback.ts';
import { stateDirectory } from './state-directory.ts';

/** A generation without what it consists of. */
export type GenerationLine = Pick<
  Generation,
  'generation' | 'at' | 'file' | 'by' | 'rolledBackTo' | 'summary'
> & { readonly services: number; readonly realServers: number };

export type History = {
  /** Absent: none, because there is no data plane or nothing was ever applied to it. */
  readonly inForce?: number;
  /** Newest first. */
  readonly generations: readonly GenerationLine[];
};

/** The configurations that were in force, as far as they are kept. */
export function readHistory(planeDirectory: string | undefined): History {
  const inForce = appliedBefore(planeDirectory)?.generation;
  return {
    ...(inForce !== undefined && { inForce }),
    generations: readGenerations(stateDirectory(planeDirectory)).map(
      ({ generation, at, file, by, rolledBackTo, summary, table }) => ({
        ...{ generation, at, file, by, summary },
        ...(rolledBackTo !== undefined && { rolledBackTo }),
        services: table.services.length,
        realServers: table.services.reduce((sum, { destinations }) => sum + destinations.length, 0),
      }),
    ),
  };
}

/** One generation, and what it changed. */
export type GenerationReport = Generation & {
  readonly isInForce: boolean;
  /** The one before it; absent where that is not kept, or there was none. */
  readonly before?: number;
  /** Against the one before it; absent where that is not kept. */
  readonly steps?: readonly Pick<Step, 'sign' | 'what' | 'detail'>[];
};

/** A generation with its steps against the one before. Throws HG_GENERATION. */
export function reportGeneration(planeDirectory: string | undefined, number: number): GenerationReport {
  const found = keptGeneration(planeDirectory, number);
  const directory = stateDirectory(planeDirectory);
  const before = generationNumbers(directory).find((one) => one < number);
  const earlier = before === undefined ? undefined : readGeneration(directory, before);
  const isFirst = number === 1;
  return {
    ...found,
    isInForce: appliedBefore(planeDirectory)?.generation === number,
    ...(before !== undefined && { before }),
    ...((earlier || isFirst) && {
      steps: stepsBetween(earlier && comparable(earlier), comparable(found)).map(
        ({ sign, what, detail }) => ({ sign, what, detail }),
      ),
    }),
  };
}
