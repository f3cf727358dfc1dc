import { count } from '../model/count.ts';
import type { NewEvent } from '../model/event.ts';
import type { Operation, Refusal } from '../model/table.ts';
import { bareStep } from './change.ts';
import type { Controller } from './controller.ts';
import { appendEvent } from './events.ts';
import { stateDirectory } from './state-directory.ts';

/** Operations that an event names; of the others it gives the number. */
const toldOperations = 20;

/**
 * What is told of operations that `by` had done; undefined where nothing came of them. Counters that are set to zero change no
 * rule: who does so every minute would push everything else out of the log.
 */
export function runtimeEvent(
  operations: readonly Operation[],
  refusals: readonly (Refusal | undefined)[],
  by: string,
): NewEvent | undefined {
  const done = operations.filter(({ kind }, index) => refusals[index] === undefined && kind !== 'zero');
  if (done.length === 0) return undefined;
  const told = done.slice(0, toldOperations).map(operationLine);
  const refused = refusals.filter((refusal) => refusal !== undefined).length;
  return {
    kind: 'runtime-change',
    what: `${by}: ${done.length === 1 ? told[0] : count(done.length, 'operation')}`,
    by,
    operations: told,
    ...(done.length > told.length && { more: done.length - told.length }),
    refused,
  };
}

/** Notes a change that was made without a daemon. The caller holds the lock; `warn` is told where it cannot be noted. */
export function noteRuntime(
  controller: Controller,
  done: {
    readonly operations: readonly Operation[];
    readonly refusals: readonly (Refusal | undefined)[];
    readonly by: string;
  },
  warn: (text: string) => void,
): void {
  const event = runtimeEvent(done.operations, done.refusals, done.by);
  if (!event) return;
  const directory = stateDirectory(controller.directory);
  const failed = (reason: string) => warn(`Done, but cannot note the event in "${directory}": ${reason}`);
  appendEvent(directory, event, { now: new Date(), failed });
}

function operationLine(operation: Operation): string {
  if (operation.kind === 'set-timeouts')
    return `~ timeouts ${Object.entries(operation.timeouts)
      .map(([name, seconds]) => `${name} ${seconds} s`)
      .join(', ')}`;
  if (operation.kind === 'flush') return '- everything';
  const { sign, what, detail } = bareStep(operation);
  return `${sign} ${what} ${detail}`.trimEnd();
}
