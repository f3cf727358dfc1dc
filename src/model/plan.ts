import { destinationKey, equalDestination, equalService, equalServiceId, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import type { Destination, ServiceId, VirtualService } from './virtual-service.ts';
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
  const operations: Operation[] = [];
  const present = finder(observed.services);
  let met = 0;
  desired.services.forEach((entry, place) => {
    const before = present(entry.service.id, place);
    if (before) met++;
    planService(operations, entry, before);
  });
  if (met === observed.services.length) return operations;
  const wanted = finder(desired.services);
  observed.services.forEach(({ service }, place) => {
    if (!wanted(service.id, place)) operations.push({ kind: 'delete-service', id: service.id });
  });
  return operations;
}

/**
 * Finds a virtual service by its name among others, which are unique. Two tables are mostly in the same order: `place` is
 * where to look first, and keys are made only where it is not there.
 */
export function finder<Entry extends { readonly service: Pick<VirtualService, 'id'> }>(
  entries: readonly Entry[],
): (id: ServiceId, place: number) => Entry | undefined {
  let byKey: ReadonlyMap<string, Entry> | undefined;
  return (id, place) => {
    const there = entries[place];
    if (there && equalServiceId(there.service.id, id)) return there;
    byKey ??= new Map(entries.map((entry) => [serviceKey(entry.service.id), entry]));
    return byKey.get(serviceKey(id));
  };
}

function planService(
  operations: Operation[],
  { service, destinations }: ServiceEntry,
  observed: ServiceEntry | undefined,
): void {
  if (observed?.service === service && observed.destinations === destinations) return;
  if (!observed) operations.push({ kind: 'add-service', service });
  else if (!equalService(service, observed.service))
    operations.push({ kind: 'edit-service', service: explicit(service, observed.service) });
  operations.push(...planDestinations(service.id, destinations, observed?.destinations ?? []));
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
  if (observed.length === 0)
    return desired.map((destination): Operation => ({ kind: 'add-destination', id, destination }));
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
