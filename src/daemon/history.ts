import type { ServedHistory } from '../api/server.ts';
import type { Controller } from '../control/controller.ts';
import { type EventLog, type NoteEvent, openEventLog } from '../control/events.ts';
import { currentTexts, type FileText, fingerprintOf } from '../control/file-texts.ts';
import type { Generation } from '../control/generations.ts';
import { readHistory, reportGeneration } from '../control/history.ts';
import type { FromFile } from '../control/load-wanted.ts';
import type { Origin } from '../control/note-generation.ts';
import type { Intention } from '../control/reconcile.ts';
import { intendRollback, keptGeneration, rollbackOrigin, standingRollback } from '../control/rollback.ts';
import { runtimeEvent } from '../control/runtime-event.ts';
import { stateDirectory } from '../control/state-directory.ts';
import type { Wanted } from '../control/wanted.ts';
import { type Again, wantedAgain } from '../control/wanted-again.ts';
import type { Operation, Refusal } from '../model/table.ts';
import type { Log } from './log.ts';

/** A configuration to put in force, and where it comes from. */
export type Taken = {
  readonly wanted: Wanted;
  /** What it says of failover; absent where nobody knows: that stays as it is. Only a file says which data plane. */
  readonly says?: Partial<Pick<FromFile, 'failover' | 'dataPlane'>>;
  readonly origin: Pick<Origin, 'by' | 'texts' | 'rolledBackTo' | 'instead'>;
};

/** What a file says. */
export const takenFrom = (read: FromFile, by: 'run' | 'reload'): Taken => ({
  wanted: read.wanted,
  says: read,
  origin: { by, texts: read.texts },
});

/** The daemon's memory: the log of events, the generations, and whether one of these stands in place of the file. */
export type Memory = {
  readonly note: NoteEvent;
  /** Puts into an origin where to tell of it. */
  readonly telling: Pick<Origin, 'note' | 'failed'>;
  /** What a start puts in force: the file, or the generation a person put in its place since it was written. */
  atStart(read: FromFile): Taken;
  /** A configuration came into force. */
  taken(taken: Taken): void;
  /** Whether the files are still those that a rollback put aside: then there is nothing to take. */
  isPutAside(): boolean;
  /** The generation that is in force again; undefined when the file counts. */
  rolledBackTo(): number | undefined;
  noteOperations(
    operations: readonly Operation[],
    refusals: readonly (Refusal | undefined)[],
    by: string,
  ): void;
  readonly served: ServedHistory;
};

type Order = { readonly dropRuntimeChanges: boolean; readonly yes: boolean };

/** Opens the memory of a daemon. `force` puts a configuration in force, in its turn. */
export function openMemory({
  controller,
  path,
  log,
  now,
  inTurn,
  force,
}: {
  readonly controller: Controller;
  readonly path: string;
  readonly log: Log;
  readonly now: () => Date;
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly force: (
    taken: Taken,
    order: Order,
  ) => Promise<{ readonly generation: number; readonly intention: Intention }>;
}): Memory {
  const directory = stateDirectory(controller.directory);
  const warn = (what: string) => (reason: string) => log('error', what, { directory, reason });
  const events: EventLog = openEventLog(directory, { now, failed: warn('events are not kept') });
  let standing: Origin['instead'];
  let to: number | undefined;

  async function rollback({ generation: number, ...order }: Order & { readonly generation: number }) {
    const target = keptGeneration(controller.directory, number);
    const { intention, isIdle, again } = await intendRollback(controller, target, order);
    const counted = {
      steps: intention.steps.length,
      kept: intention.kept.length,
      dropped: intention.dropped.length,
    };
    if (isIdle) return { generation: readHistory(controller.directory).inForce ?? number, ...counted };
    const { generation } = await force({ ...takenAgain(again), origin: rollbackOrigin(target, path) }, order);
    log('info', 'rolled back, until the file changes', { generation, to: number, ...counted });
    return { generation, ...counted };
  }

  return {
    note: events.note,
    telling: { note: events.note, failed: warn('the generation is not kept') },
    atStart(read) {
      const found = standingRollback(controller.directory, read.texts);
      if (!found) return takenFrom(read, 'run');
      log('info', 'stays rolled back, the file has not changed', { to: found.rolledBackTo });
      return goingOn(found, read.texts);
    },
    taken({ origin }) {
      [standing, to] = [origin.instead, origin.rolledBackTo];
    },
    isPutAside: () => standing !== undefined && fingerprintOf(currentTexts(path)) === standing,
    rolledBackTo: () => to,
    noteOperations(operations, refusals, by) {
      const event = runtimeEvent(operations, refusals, by);
      if (event) events.note(event);
    },
    served: {
      events,
      history: () => readHistory(controller.directory),
      generation: (number) => reportGeneration(controller.directory, number),
      rollback: (order) => inTurn(() => rollback(order)),
    },
  };
}

/** What a generation asked for. */
const takenAgain = ({ wanted, configuration }: Again): Omit<Taken, 'origin'> => ({
  wanted,
  ...(configuration && { says: configuration.failover ? { failover: configuration.failover } : {} }),
});

/** A rollback that goes on. */
function goingOn(found: Generation, texts: readonly FileText[]): Taken {
  return {
    ...takenAgain(wantedAgain(found)),
    origin: {
      by: 'run',
      texts: found.files,
      instead: fingerprintOf(texts),
      ...(found.rolledBackTo !== undefined && { rolledBackTo: found.rolledBackTo }),
    },
  };
}
