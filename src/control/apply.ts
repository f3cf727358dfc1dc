import { HeadgateError } from '../model/errors.ts';
import { plan } from '../model/plan.ts';
import type { Observed, Operation } from '../model/table.ts';
import { type Change, type Step, tableOf } from './change.ts';
import type { Controller } from './controller.ts';

/**
 * Does what a change says, all of it or nothing: when the plane refuses a step, what was there before is put back.
 * `observed` is the table that the change was made for. Rejects with HG_APPLY_REFUSED, which names every step that was refused.
 */
export async function applyChange(
  controller: Controller,
  { steps }: Change,
  observed: Observed,
): Promise<void> {
  if (steps.length === 0) return;
  // Where others write too, they may have written since.
  const before = controller.capabilities.shared ? await controller.read({ counters: false }) : observed;
  const refusals = await controller.apply(steps.map(({ operation }) => operation));
  const refused = steps.flatMap((step, i) => (refusals[i] ? [`${name(step)}: ${refusals[i].detail}`] : []));
  if (refused.length === 0) return;
  const undone = await restore(controller, before);
  throw new HeadgateError(
    'HG_APPLY_REFUSED',
    `Cannot apply the change: ${refused.join('; ')}; ${undone ? 'what was there before is back' : 'and what was there before could not be put back whole'}`,
  );
}

const name = ({ sign, what }: Step): string => `${sign} ${what}`;

/** Makes the table what it was; false when the plane refuses that too. */
async function restore(controller: Controller, before: Observed): Promise<boolean> {
  const now = await controller.read({ counters: false });
  const operations: Operation[] = [
    ...plan(tableOf(before.services), tableOf(now.services)),
    { kind: 'set-timeouts', timeouts: before.timeouts },
  ];
  return (await controller.apply(operations)).every((refusal) => refusal === undefined);
}
