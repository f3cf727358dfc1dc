import { applyOperation } from '../model/apply-operation.ts';
import { plan } from '../model/plan.ts';
import type { Operation, Table } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';

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
  const dropped: Operation[] = [];
  let table = configuration;
  for (const change of changes) {
    if (checkOperation(change, table)) dropped.push(change);
    else table = applyOperation(table, change);
  }
  return { table, dropped };
}
