import { tableOf } from '../control/change.ts';
import { type OwnController, over } from '../control/controller.ts';
import type { NoteEvent } from '../control/events.ts';
import { runtimeChanges } from '../control/runtime.ts';
import { runtimeEvent } from '../control/runtime-event.ts';
import { operationKey } from '../model/apply-operation.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation, Table } from '../model/table.ts';
import type { Log } from './log.ts';

/** How often a table that others can write to is looked at. */
const lookMs = 5000;
/** Who did it, in the log of events: nothing tells which program it was. */
const someone = 'another program';

export type OtherWriters = {
  /** The same controller; what goes through it is known to be ours. */
  readonly controller: OwnController;
  /** Looks until `stop`. */
  follow(options: FollowOptions): { stop(): void };
};

export type FollowOptions = {
  /** Runs work when no other is under way on the table. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  readonly log: Log;
  readonly note: NoteEvent;
  /** The rules are no longer those that clients have seen. */
  readonly changed: () => void;
  /** Whether services that nobody described are to go. */
  readonly own: () => boolean;
  /** Puts the configuration in force again. */
  readonly again: () => Promise<void>;
};

/**
 * Notices what other programs change in a table while it is not ours alone: it is told as a runtime change, and under `own: true`
 * services that nobody described go again. Of a service that was also changed here since the last look nothing is told:
 * who did what cannot be known.
 */
export function noticeOthers(controller: OwnController): OtherWriters {
  let known: Table | undefined;
  /** Services changed here since the last look; `all` after a flush. */
  let ours = new Set<string>();
  let all = false;
  return {
    controller: over(controller, {
      async apply(operations) {
        for (const operation of controller.capabilities.shared ? operations : []) {
          const key = operationKey(operation);
          if (key !== undefined) ours.add(key);
          else if (operation.kind === 'flush') all = true;
        }
        return controller.apply(operations);
      },
    }),
    follow({ inTurn, log, note, changed, own, again }) {
      let failure: string | undefined;
      let underWay = false;
      const timer = setInterval(() => {
        if (underWay) return;
        underWay = true;
        void inTurn(look)
          .then((added) => (added && own() ? again() : undefined))
          .catch((error) => {
            const reason = error instanceof Error ? error.message : String(error);
            if (reason !== failure) log('error', 'the table was not looked at', { reason });
            failure = reason;
          })
          .finally(() => {
            underWay = false;
          });
      }, lookMs);

      /** Whether there are services that were not there before. */
      async function look(): Promise<boolean> {
        if (!controller.capabilities.shared) {
          known = undefined;
          return false;
        }
        const found = tableOf((await controller.read({ counters: false })).services);
        failure = undefined;
        const [before, own] = [known, all ? undefined : ours];
        known = found;
        ours = new Set();
        all = false;
        const operations = before && own ? byOthers(before, found, own) : [];
        const event = runtimeEvent(operations, [], someone);
        if (!event) return false;
        note(event);
        changed();
        log('info', 'another program has changed the table', { operations: operations.length });
        return operations.some(({ kind }) => kind === 'add-service');
      }

      return { stop: () => clearInterval(timer) };
    },
  };
}

/** What turns one table into another, without what is about services that were changed here. Pure. */
function byOthers(before: Table, found: Table, ours: ReadonlySet<string>): Operation[] {
  const without = ({ services }: Table): Table => ({
    services: services.filter(({ service }) => !ours.has(serviceKey(service.id))),
  });
  return runtimeChanges(without(before), without(found));
}
