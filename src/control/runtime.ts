import { applyOperation } from '../model/apply-operation.ts';
import { coverOperations } from '../model/cover.ts';
import { plan } from '../model/plan.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation, Refusal, Table } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';
import { tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { readCovers, readOverrides, writeCovers } from './override-store.ts';

/**
 * The runtime layer: what was changed since a configuration was applied, by ipvsadm for instance, as operations that
 * turn what it made into what is there. Nothing has to keep a record of them, so nothing can lose one.
 */
export function runtimeChanges(applied: Table, found: Table): Operation[] {
  return plan(found, applied);
}

/** A configuration with runtime changes over it; those that no longer have a place are left out, and named. */
export function withRuntimeChanges(
  configuration: Table,
  changes: readonly Operation[],
): { readonly table: Table; readonly dropped: readonly Operation[] } {
  if (changes.length === 0) return { table: configuration, dropped: [] };
  const dropped: Operation[] = [];
  /** By service: an operation meets its own service only, so each is as quick as the service is small. */
  const entries = new Map(
    configuration.services.map((entry) => [serviceKey(entry.service.id), { services: [entry] } as Table]),
  );
  for (const change of changes) {
    const key = keyOf(change);
    const alone = entries.get(key) ?? { services: [] };
    if (checkOperation(change, alone)) dropped.push(change);
    else entries.set(key, applyOperation(alone, change));
  }
  return { table: { services: [...entries.values()].flatMap(({ services }) => services) }, dropped };
}

function keyOf(change: Operation): string {
  if ('service' in change) return serviceKey(change.service.id);
  return 'id' in change && change.id ? serviceKey(change.id) : '';
}

/**
 * Changes the table at runtime, as ipvsadm does. A real server that a person has taken out, or a check, stays out whatever is
 * written; what was written is what it is when it comes back.
 */
export async function changeAtRuntime(
  controller: Controller,
  operations: readonly Operation[],
): Promise<readonly (Refusal | undefined)[]> {
  const overrides = readOverrides(controller);
  const before = readCovers(controller);
  if (overrides.length === 0 && before.length === 0) return controller.apply(operations);
  const asked = coverOperations(operations, { overrides, covers: before });
  writeCovers(controller, [...before, ...asked.covers]);
  const refusals = await applyVisible(controller, operations, asked.operations);
  const done = operations.filter((_, i) => refusals[i] === undefined);
  writeCovers(controller, coverOperations(done, { overrides, covers: before }).covers);
  return refusals;
}

/** Applies what has something to do in the table; the rest is judged by what the table shows. */
async function applyVisible(
  controller: Controller,
  operations: readonly Operation[],
  visible: readonly (Operation | undefined)[],
): Promise<readonly (Refusal | undefined)[]> {
  const refusals = [...(await controller.apply(visible.filter((one) => one !== undefined)))];
  if (refusals.length === operations.length) return refusals;
  const table = tableOf((await controller.read()).services);
  return visible.map((one, i) =>
    one === undefined ? checkOperation(operations[i]!, table) : refusals.shift(),
  );
}
