import type { Health } from '../model/health.ts';
import { memberKey } from '../model/override.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Controller } from './controller.ts';
import { readOverrides } from './override-store.ts';
import { tableUnder } from './overrides.ts';

/**
 * Entries of these services, by memberKey, that get all the new clients their weight stands for, as far as checks and people
 * say; with the weights that are under all that lies over the table. Who starts slowly does not yet.
 */
export async function servingIn(
  controller: Controller,
  { members }: Pick<Health, 'members'>,
  services: ReadonlySet<string>,
): Promise<ReadonlyMap<string, number>> {
  const observed = await controller.read({ counters: false });
  const out = new Set([
    ...members
      .filter(({ isUp, share }) => !isUp || share !== undefined)
      .map((one) => memberKey(one.service, one.destination)),
    ...readOverrides(controller).flatMap((one) =>
      one.members.map(({ service, destination }) => memberKey(service, destination)),
    ),
  ]);
  const touched = observed.services.filter(({ service }) => services.has(serviceKey(service.id)));
  const under = tableUnder(controller, { ...observed, services: touched });
  return new Map(
    under.services.flatMap(({ service, destinations }) =>
      destinations
        .map((one) => [memberKey(service.id, one), one.weight] as const)
        .filter(([key]) => !out.has(key)),
    ),
  );
}
