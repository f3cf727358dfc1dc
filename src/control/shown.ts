import type { Cover } from '../model/cover.ts';
import { memberKey } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Counters, DestinationState, Observed } from '../model/table.ts';
import type { Destination } from '../model/virtual-service.ts';

const none: Counters = { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n };

/** What a person is shown: the table, and in it those that were taken out because they are down. */
export function withAbsent(observed: Observed, covers: readonly Cover[]): Observed {
  const absent = covers.filter(({ under, over }) => under && !over);
  if (absent.length === 0) return observed;
  const byService = new Map<string, Destination[]>();
  for (const { service, under } of absent) {
    const key = serviceKey(service);
    byService.set(key, [...(byService.get(key) ?? []), under!]);
  }
  return {
    ...observed,
    services: observed.services.map((state) => {
      const gone = byService.get(serviceKey(state.service.id));
      if (!gone) return state;
      const there = new Set(state.destinations.map(({ destination }) => destinationKey(destination)));
      const idle = gone.filter((one) => !there.has(destinationKey(one))).map(idleState);
      return { ...state, destinations: [...state.destinations, ...idle] };
    }),
  };
}

const idleState = (destination: Destination): DestinationState => ({
  destination,
  ...{ activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 },
  ...{ counters: none, rates: none },
});

/** Entries, by memberKey, that stand in for real servers that are down. */
export const standIns = (covers: readonly Cover[]): ReadonlySet<string> =>
  new Set(
    covers.flatMap(({ service, destination, under, over }) =>
      over && !under ? [memberKey(service, destination)] : [],
    ),
  );

/** Weights under covers, by memberKey: what an entry would have if nothing lay over it. */
export const weightsUnder = (covers: readonly Cover[]): ReadonlyMap<string, number> =>
  new Map(
    covers.flatMap(({ service, destination, under }) =>
      under ? [[memberKey(service, destination), under.weight] as const] : [],
    ),
  );
