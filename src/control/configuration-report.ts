import type { Applied } from './applied.ts';
import type { Problem } from './problems.ts';
import type { Intention } from './reconcile.ts';
import type { Wanted } from './wanted.ts';

/** The configuration the data plane is held against. */
export type Source = {
  readonly file: string;
  /** Why the file is not what is in force: it cannot be read, or it was refused. */
  readonly problem?: Problem;
  /** What is compared: what the file says, or with a problem what it said when it was taken; absent: nothing is. */
  readonly wanted?: Wanted;
  /** How often it was taken and when it was last, for a plane that keeps no note of it. */
  readonly taken?: { readonly generation: number; readonly at: string };
};

/** The process that keeps the data plane; times in ISO 8601. */
export type ConfigurationReport = {
  readonly file: string;
  /** `accepted`: sound and taken, or to be taken; `failed`: see the problems; `absent`: there is none. */
  readonly state: 'accepted' | 'failed' | 'absent';
  /** How many were applied, and when the last one was; absent where none was. */
  readonly generation?: number;
  readonly appliedAt?: string;
  /** Steps from what is in force to what it says; absent where nothing is compared. */
  readonly differences?: number;
  /** What was changed since it was applied. */
  readonly runtimeChanges: number;
  /** Real servers it describes checks for that nobody runs, as no daemon does; absent where there is none. */
  readonly unchecked?: number;
};

/** What a report says of the configuration; `served` where a daemon is there, which runs the checks. */
export function configurationOf({
  source,
  applied,
  intention,
  runtimeChanges,
  served,
}: {
  readonly source: Source;
  readonly applied?: Applied;
  readonly intention?: Intention;
  readonly runtimeChanges: number;
  readonly served: boolean;
}): ConfigurationReport {
  const unchecked = served ? 0 : describedChecks(source.wanted);
  const last = applied ?? source.taken;
  const state = source.problem ? 'failed' : source.wanted ? 'accepted' : 'absent';
  return {
    file: source.file,
    state,
    ...(last && { generation: last.generation, appliedAt: last.at }),
    ...(intention && { differences: intention.steps.length }),
    runtimeChanges,
    ...(unchecked > 0 && { unchecked }),
  };
}

/** Real servers that a configuration describes checks for. */
export const describedChecks = (wanted: Pick<Wanted, 'pools'> | undefined): number =>
  [...(wanted?.pools?.values() ?? [])].reduce((total, { checks }) => total + checks.size, 0);
