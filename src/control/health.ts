import { type Cover, coverTable, uncoverTable } from '../model/cover.ts';
import { serviceKey } from '../model/service-id.ts';
import { changeBetween, tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { decisionsOf, healthKept } from './decisions.ts';
import { healthOf, readHealth } from './health-store.ts';
import { readCovers, readOverrides } from './override-store.ts';
import { applyDecided } from './overrides.ts';
import type { Wanted } from './wanted.ts';

/**
 * Makes services what the health of their real servers says now. Only these are looked at, and nothing of the configuration
 * is read anew. Resolves with the number of steps that took. Rejects with HG_APPLY_REFUSED, HG_STATE.
 */
export async function putHealthInForce(
  controller: Controller,
  { names, pools }: Pick<Wanted, 'names' | 'pools'>,
  services: ReadonlySet<string>,
): Promise<number> {
  const observed = await controller.read();
  const touched = {
    ...observed,
    services: observed.services.filter(({ service }) => services.has(serviceKey(service.id))),
  };
  const health = await healthOf(controller, services);
  const all = readCovers(controller);
  const isTouched = ({ service }: Cover) => services.has(serviceKey(service));
  const own = all.filter(isTouched);
  const overrides = readOverrides(controller);
  const under = uncoverTable(tableOf(touched.services), own);
  const covered = coverTable(under, decisionsOf(health, { overrides, pools, covers: own }));
  const change = changeBetween({ table: covered.table, own: true, timeouts: {}, names }, touched);
  const lost = [...health.lost.filter((key) => !services.has(key)), ...covered.lost];
  const now = healthKept(health, pools, lost);
  const before = readHealth(controller);
  const isOther = ({ service }: Pick<Cover, 'service'>) => !services.has(serviceKey(service));
  const agents = [...(before.agents ?? []).filter(isOther), ...(now.agents ?? [])];
  const decided = {
    overrides,
    covers: [...all.filter((one) => !isTouched(one)), ...covered.covers],
    health: {
      ...now,
      members: [...before.members.filter(isOther), ...now.members],
      ...(agents.length > 0 && { agents }),
    },
  };
  await applyDecided(controller, change, decided, observed);
  return change.steps.length;
}
