import type { Look } from '../dataplane/data-plane.ts';
import { coverTable } from '../model/cover.ts';
import { finder } from '../model/plan.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Observed, Operation, Table } from '../model/table.ts';
import { type Applied, prepareApplied, recognised } from './applied.ts';
import { type Change, changeBetween, tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { decisionsOf, healthKept } from './decisions.ts';
import { nextGeneration } from './generations.ts';
import { healthOf } from './health-store.ts';
import { appliedBefore, comparedBefore, isSame, noteGeneration, type Origin } from './note-generation.ts';
import { resolveOverrides } from './override-names.ts';
import { overridesOf, readCovers } from './override-store.ts';
import { applyDecided, type Decided, underCovers } from './overrides.ts';
import { runtimeChanges, withRuntimeChanges } from './runtime.ts';
import { equalSettings, type SettingStep, settingSteps } from './settings.ts';
import { stateDirectory } from './state-directory.ts';
import { beginWork, endWork, readBaseline, settle } from './underway.ts';
import type { Wanted } from './wanted.ts';

/** What putting a configuration in force would do now. */
export type Intention = Change &
  Decided & {
    /** What was changed since the last configuration was applied and stays over this one. */
    readonly kept: readonly Operation[];
    /** What was changed since then and does not stay. */
    readonly dropped: readonly Operation[];
    /** What changes beside the table. */
    readonly settings: readonly SettingStep[];
    /** What is there before. */
    readonly observed: Observed;
  };

export type Order = {
  /** What was changed at runtime goes; otherwise it stays over the configuration where it still has a place. */
  readonly dropRuntimeChanges?: boolean;
};

/** What is there, and what the configuration that was applied last made of it. */
export type Seen = {
  readonly observed: Observed;
  /** The rules of what is there; services that are as they were made are those of `applied`. */
  readonly found: Table;
  readonly applied: Applied | undefined;
};

/** Looks at what is there. Changes nothing. */
export async function see(controller: Controller, look: Look = {}): Promise<Seen> {
  const observed = await controller.read(look);
  const found = tableOf(observed.services);
  const applied = readBaseline(controller.directory, found);
  return { applied, observed, found: applied ? recognised(found, applied.table) : found };
}

/** What putting a configuration in force would do; `seen` where somebody has just looked. Changes nothing. */
export async function intend(
  controller: Controller,
  wanted: Wanted,
  { dropRuntimeChanges = false }: Order = {},
  seen?: Seen,
): Promise<Intention> {
  const { applied, observed, found } = seen ?? (await see(controller, { counters: false }));
  const changes = applied ? changesSince(applied, underCovers(controller, found)) : [];
  const { table: under, dropped } = withRuntimeChanges(wanted.table, dropRuntimeChanges ? [] : changes);
  const gone = new Set(dropRuntimeChanges ? changes : dropped);
  const overrides = resolveOverrides(await overridesOf(controller), wanted);
  const health = await healthOf(controller);
  const before = readCovers(controller);
  const decisions = decisionsOf(health, { overrides, pools: wanted.pools, covers: before });
  const { table, covers, lost } = coverTable(under, decisions);
  const change = changeBetween({ ...wanted, table }, observed, applied?.table, found);
  const strangers = new Set(change.strangers.map(serviceKey));
  const alone = before.filter(({ service }) => strangers.has(serviceKey(service)));
  return {
    ...change,
    kept: changes.filter((change) => !gone.has(change)),
    dropped: [...gone],
    overrides,
    observed,
    settings: settingsBetween(controller, applied, wanted),
    covers: [...covers, ...alone],
    health: healthKept(health, wanted.pools, [...lost, ...health.lost.filter((key) => strangers.has(key))]),
  };
}

/** What is kept of the configuration before is only read where it says something else. */
function settingsBetween(
  { directory }: Controller,
  applied: Applied | undefined,
  { settings }: Wanted,
): readonly SettingStep[] {
  if (!applied || equalSettings(applied.fingerprint, settings)) return [];
  return settingSteps(comparedBefore(stateDirectory(directory))?.settings, settings);
}

/**
 * Does what was intended, all of it or nothing, and notes whose doing it is; underway.ts says what holds when the process
 * ends meanwhile. Resolves to the generation in force. Rejects with HG_APPLY_REFUSED, HG_STATE.
 */
export async function putInForce(
  controller: Controller,
  wanted: Wanted,
  intention: Intention,
  origin: Origin,
): Promise<number> {
  const { directory } = controller;
  await settle(controller);
  const { file, now, rolledBackTo } = origin;
  const { table, timeouts, settings } = wanted;
  const applied = appliedBefore(directory);
  const steps = intention.steps.map(({ operation }) => operation);
  const outcome = { steps: steps.length, timeouts: { ...intention.observed.timeouts, ...timeouts } };
  if (applied && isSame(applied, wanted, rolledBackTo)) {
    const { generation } = applied;
    await applyDecided(controller, intention, intention, intention.observed);
    await noteGeneration(controller, wanted, { ...outcome, generation, isNew: false }, origin);
    return generation;
  }
  const generation = nextGeneration(directory);
  // On the disk before the first step: what follows needs no room.
  const next = prepareApplied(directory, {
    ...{ generation, file, at: now.toISOString(), table, timeouts },
    ...(settings && { fingerprint: settings.fingerprint() }),
    ...(rolledBackTo !== undefined && { rolledBackTo }),
  });
  try {
    if (steps.length > 0) beginWork(directory, { generation, table, steps });
    await applyDecided(controller, intention, intention, intention.observed);
    next?.commit();
    endWork(directory);
  } catch (error) {
    next?.discard();
    // Where that fails too it is left to whoever comes next.
    await settle(controller).catch(() => undefined);
    throw error;
  }
  await noteGeneration(controller, wanted, { ...outcome, generation, isNew: true }, origin);
  return generation;
}

/** What was changed since the configuration in force was applied; `seen` where somebody has just looked. */
export async function currentRuntimeChanges(
  controller: Controller,
  seen?: Seen,
): Promise<readonly Operation[]> {
  const { applied, found } = seen ?? (await see(controller, { counters: false }));
  return applied ? changesSince(applied, underCovers(controller, found)) : [];
}

/** Services that no configuration described are strangers, not changes. */
function changesSince({ table }: Applied, found: Table): Operation[] {
  const described = finder(table.services);
  return runtimeChanges(table, {
    services: found.services.filter(({ service }, place) => described(service.id, place) !== undefined),
  });
}
