import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type SyncSysctls,
  type Sysctls,
  syncSysctlDefaults,
  syncSysctlsIn,
  sysctlsAtOdds,
} from '../../model/sysctls.ts';
import type { Operation, Refusal } from '../../model/table.ts';
import type { DataPlane } from '../data-plane.ts';

/*
 * The program in the kernel looks at no parameter of connection sync but the packet rule in force, which the sync process that tells
 * puts there. So they stand in a file beside the plane, which lives as long as it does, and whoever tells reads them.
 */

const fileIn = (directory: string) => join(directory, 'sysctls.json');

/** The parameters of connection sync beside a plane. */
export function readSyncSysctls(directory: string): SyncSysctls {
  try {
    const found = JSON.parse(readFileSync(fileIn(directory), 'utf8')) as Partial<SyncSysctls>;
    return { ...syncSysctlDefaults, ...found };
  } catch {
    return syncSysctlDefaults;
  }
}

/** Whole or not at all. */
function writeSyncSysctls(directory: string, sysctls: SyncSysctls): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(`${fileIn(directory)}.new`, `${JSON.stringify(sysctls)}\n`, { mode: 0o600 });
  renameSync(`${fileIn(directory)}.new`, fileIn(directory));
}

/** A plane's reading and applying, with these parameters among the others. */
export function withSyncSysctls(plane: DataPlane, directory: string): Pick<DataPlane, 'read' | 'apply'> {
  return {
    async read(look) {
      const observed = await plane.read(look);
      const sysctls = { ...observed.sysctls, ...readSyncSysctls(directory) } as Sysctls;
      return { ...observed, sysctls };
    },
    async apply(operations) {
      if (!operations.some((one) => wishedIn(one))) return plane.apply(operations);
      const results: (Refusal | undefined)[] = [];
      for (const one of operations) {
        const wished = wishedIn(one);
        const next = { ...readSyncSysctls(directory), ...wished };
        const odd = wished && sysctlsAtOdds(next);
        const [refusal] =
          odd === undefined
            ? await plane.apply([one])
            : [{ reason: 'invalid', detail: odd } satisfies Refusal];
        if (wished && !refusal) writeSyncSysctls(directory, next);
        results.push(refusal);
      }
      return results;
    },
  };
}

function wishedIn(operation: Operation): Partial<SyncSysctls> | undefined {
  if (operation.kind !== 'set-sysctls') return undefined;
  const found = syncSysctlsIn(operation.sysctls);
  return Object.keys(found).length > 0 ? found : undefined;
}
