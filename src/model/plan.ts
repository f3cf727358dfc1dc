import { destinationKey, equalDestination, equalService, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import type { Destination, VirtualService } from './virtual-service.ts';
import { whenGoneOf } from './when-gone.ts';

/**
 * The operations that turn the observed table into the desired one: one for each entry that differs, none for an
 * entry that is as desired, because even an edit that changes nothing restarts the weighted round robin wheel and an
 * entry that is deleted and added again loses its counters. A deleted service takes its destinations along.
 *
 * Nothing that is wanted is without a server in between: what is new or gains weight comes before what loses weight
 * or goes. Destinations that stay keep their places in the list. Names must be unique in both tables, and desired
 * destinations normalised (normaliseDestination).
 */
export function plan(desired: Table, observed: Table): Operation[] {
  const present = new Map(observed.services.map((entry) => [serviceKey(entry.service.id), entry]));
  const wanted = new Set(desired.services.map(({ service }) => serviceKey(service.id)));
  return [
    ...desired.services.flatMap((entry) => planService(entry, present.get(serviceKey(entry.service.id)))),
    ...observed.services
      .filter(({ service }) => !wanted.has(serviceKey(service.id)))
      .map(({ service }): Operation => ({ kind: 'delete-service', id: service.id })),
  ];
}

function planService(
  { service, destinations }: ServiceEntry,
  observed: ServiceEntry | undefined,
): Operation[] {
  const operations: Operation[] = [];
  if (!observed) operations.push({ kind: 'add-service', service });
  else if (!equalService(service, observed.service))
    operations.push({ kind: 'edit-service', service: explicit(service, observed.service) });
  return [...operations, ...planDestinations(service.id, destinations, observed?.destinations ?? [])];
}

/** An edit leaves alone what it does not say. */
function explicit(service: VirtualService, observed: VirtualService): VirtualService {
  const whenGone = whenGoneOf(service);
  return whenGone === whenGoneOf(observed) ? service : { ...service, whenGone };
}

function planDestinations(
  id: ServiceEntry['service']['id'],
  desired: readonly Destination[],
  observed: readonly Destination[],
): Operation[] {
  const isSame = (destination: Destination, i: number) => equalDestination(destination, observed[i]!);
  if (desired.length === observed.length && desired.every(isSame)) return [];
  const present = new Map(observed.map((destination) => [destinationKey(destination), destination]));
  const wanted = new Set(desired.map(destinationKey));
  const added: Operation[] = [];
  const raised: Operation[] = [];
  const lowered: Operation[] = [];
  for (const destination of desired) {
    const before = present.get(destinationKey(destination));
    if (!before) added.push({ kind: 'add-destination', id, destination });
    else if (!equalDestination(destination, before)) {
      const edits = destination.weight > before.weight ? raised : lowered;
      edits.push({ kind: 'edit-destination', id, destination });
    }
  }
  const deleted = observed
    .filter((destination) => !wanted.has(destinationKey(destination)))
    .map(
      ({ address, port }): Operation => ({ kind: 'delete-destination', id, destination: { address, port } }),
    );
  return [...added, ...raised, ...lowered, ...deleted];
}
