import { absentAddresses } from '../control/absent-addresses.ts';
import type { OwnController } from '../control/controller.ts';
import type { FromFile } from '../control/load-wanted.ts';
import { type Intention, intend, putInForce } from '../control/reconcile.ts';
import type { Wanted } from '../control/wanted.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Table } from '../model/table.ts';
import { type Memory, openMemory, type Taken, takenFrom } from './history.ts';
import type { Log } from './log.ts';
import type { ServiceManager } from './service-manager.ts';
import type { Turns } from './turns.ts';
import type { FileWatch } from './watch-files.ts';

export type Order = { readonly dropRuntimeChanges: boolean; readonly yes: boolean };

/** What is in force, and what is not. */
export type Standing = {
  /** What the file said when it was taken last, or the generation that stands in its place. */
  readonly wanted: Wanted;
  readonly generation: number;
  /** When it came into force, or was found in force, in ISO 8601. */
  readonly at: string;
  /** Why the file as it is now was not taken; undefined when it was. */
  readonly refused: unknown;
  /** The same as a sentence. */
  readonly failure: string | undefined;
};

/** Keeps a file in force. */
export type Keeper = {
  readonly memory: Memory;
  standing(): Standing;
  /** All of it in one line, for who started the daemon. */
  line(): string;
  /** Puts the configuration in force with which the daemon starts. */
  start(): Promise<void>;
  /** Takes the file as it is now, all of it or nothing. Not in its turn: the caller sees to that. */
  reloadNow(order: Order): Promise<object>;
  /** The same in its turn; a failure is logged. */
  reload(): Promise<void>;
  /** The same where the file is not what a rollback has put aside. */
  takeChange(): Promise<void>;
};

export type KeeperOptions = {
  readonly path: string;
  readonly first: FromFile;
  readonly readFile: () => FromFile;
  readonly controller: OwnController;
  readonly turns: Turns;
  readonly files: Pick<FileWatch, 'follow'>;
  readonly manager: ServiceManager;
  readonly log: Log;
  readonly now: () => Date;
  /** Told of each configuration that has come into force. */
  readonly inForce: (wanted: Wanted) => void;
  /** What the configuration that came into force says beside its table, where that is known. */
  readonly taken: (says: NonNullable<Taken['says']>, table: Table) => Promise<void>;
};

export function openKeeper({
  path,
  first,
  readFile,
  controller,
  turns: { inTurn },
  files,
  manager,
  log,
  now,
  inForce,
  taken: takeRest,
}: KeeperOptions): Keeper {
  let { wanted } = first;
  let generation = 0;
  let at = now().toISOString();
  let refused: unknown;

  const memory = openMemory({ controller, path, log, now, inTurn, force });
  const failure = () =>
    refused === undefined ? undefined : refused instanceof Error ? refused.message : String(refused);

  async function force(
    taken: Taken,
    order: Order,
  ): Promise<{ readonly generation: number; readonly intention: Intention }> {
    const intention = await intend(controller, taken.wanted, order);
    if (intention.concerns.length > 0 && !order.yes)
      throw new HeadgateError(
        'HG_NEEDS_YES',
        `Cannot ${taken.origin.by === 'rollback' ? 'roll back' : 'reload'} "${path}" without a word: ${intention.concerns.join('; ')}`,
      );
    const origin = { file: path, now: now(), ...taken.origin, ...memory.telling };
    generation = await putInForce(controller, taken.wanted, intention, origin);
    ({ wanted } = taken);
    at = now().toISOString();
    memory.taken(taken);
    inForce(wanted);
    const [absent, ...others] = await absentAddresses(controller, intention.steps);
    if (absent)
      log('info', 'virtual address on no interface of this host', { ...absent, others: others.length });
    if (taken.says) await takeRest(taken.says, wanted.table);
    return { generation, intention };
  }

  async function reloadNow(order: Order): Promise<object> {
    manager.reloading();
    try {
      const read = readFile();
      files.follow(read.files);
      const before = generation;
      const { intention } = await force(takenFrom(read, 'reload'), order);
      refused = undefined;
      const { steps, kept, dropped, overrides } = intention;
      const counted = { generation, steps: steps.length, kept: kept.length, dropped: dropped.length };
      if (steps.length > 0 || generation !== before)
        log('info', 'configuration in force', { file: path, ...counted });
      return { ...counted, overrides };
    } catch (error) {
      refused = error;
      const reason = failure()!;
      const what = `${path} is not in force: ${reason}`;
      memory.note({ kind: 'configuration-refused', what, file: path, by: 'reload', reason });
      throw error;
    } finally {
      manager.ready(line());
    }
  }

  async function reload(): Promise<void> {
    try {
      await inTurn(() => reloadNow({ dropRuntimeChanges: false, yes: false }));
    } catch (error) {
      log('error', 'configuration not in force, the one before stays', {
        file: path,
        reason: failure() ?? String(error),
        ...(error instanceof HeadgateError && {
          problems: error.problems.map(
            ({ file, at, message }) => `${file}:${at.line}:${at.column}: ${message}`,
          ),
        }),
      });
    }
  }

  function line(): string {
    const services = wanted.table.services.length;
    const state = `Generation ${generation} of ${path}: ${services} virtual services, data plane ${controller.capabilities.name}`;
    const reason = failure();
    return reason === undefined ? state : `${state}; the file as it is now is not in force: ${reason}`;
  }

  return {
    memory,
    line,
    standing: () => ({ wanted, generation, at, refused, failure: failure() }),
    async start() {
      // A person has started the daemon: that is the word.
      await force(memory.atStart(first), { dropRuntimeChanges: false, yes: true });
      files.follow(first.files);
    },
    reloadNow,
    reload,
    async takeChange() {
      if (!memory.isPutAside()) await reload();
    },
  };
}
