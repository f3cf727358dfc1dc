import { applyOperation } from '../model/apply-operation.ts';
import { coverOperations } from '../model/override.ts';
import { plan } from '../model/plan.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation, Refusal, Table } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';
import type { Controller } from './controller.ts';
import { readCovered, readOverrides, writeCovered } from './override-store.ts';

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
 * Changes the table at runtime, as ipvsadm does. A real server that is overridden stays at weight 0 whatever is written;
 * the weight that was written is the one it has when the override ends.
 */
export async function changeAtRuntime(
  controller: Controller,
  operations: readonly Operation[],
): Promise<readonly (Refusal | undefined)[]> {
  const overrides = readOverrides(controller);
  if (overrides.length === 0) return controller.apply(operations);
  const before = readCovered(controller);
  const asked = coverOperations(operations, overrides, before);
  writeCovered(controller, asked.covered);
  const refusals = await controller.apply(asked.operations);
  const done = operations.filter((_, i) => refusals[i] === undefined);
  writeCovered(controller, coverOperations(done, overrides, before).covered);
  return refusals;
}
