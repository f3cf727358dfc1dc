import { readFileSync } from 'node:fs';
import { normaliseDestination } from '../../model/real-server.ts';
import { destinationKey, lastKeyKept, serviceKey } from '../../model/service-id.ts';
import { type Sysctls, tableSysctlNames } from '../../model/sysctls.ts';
import type { Operation, Refusal } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import type {
  Destination,
  DestinationId,
  ServiceId,
  Timeouts,
  VirtualService,
} from '../../model/virtual-service.ts';
import { editedService, normaliseService } from '../../model/when-gone.ts';
import { addressFilters } from './address-filters.ts';
import { joinCounters, leaveCounters, zeroCounters, zeroTotals } from './counters.ts';
import { changeFlags, isBusy, judgeOverload, makeAvailable, noteTemplates } from './destination-flags.ts';
import {
  encodeAddress,
  encodeServiceKey,
  flagsOfDeleted,
  readDestination,
  readService,
  readServiceId,
  writeDestination,
  writeService,
} from './encoding.ts';
import { writeFtpPorts } from './ftp-ports.ts';
import { numbers } from './layout.generated.ts';
import type { ListedService } from './listing.ts';
import { findLocalEnds, readLocalAddresses, writeLocalEnds } from './local-addresses.ts';
import { equipScheduler, refuseOtherMhTable, rescheduleDestinations, stepBack } from './scheduling.ts';
import type { TableMaps } from './table-maps.ts';
import { tunnelSource } from './tunnel-source.ts';

const { DESTINATION_USED, DESTINATION_AVAILABLE } = numbers.destination_flag;
const { SERVICE_USED } = numbers.service_flag;
const { SCHEDULER_WLC } = numbers.scheduler;

/** The kernel forgets a deleted destination after two idle minutes (IP_VS_DEST_TRASH_PERIOD). */
const rememberedSeconds = 120;

/** A deleted destination's slot rests this long before another takes it: no packet can still be on its way there. */
const restSeconds = 1;

/** The table of virtual services as it stands in the maps. One process edits it at a time, under the instance's lock. */
export type Tables = {
  readonly listed: ReadonlyMap<string, ListedService>;
  /** Applies one operation; a refused one changes nothing. `finish` must follow the last of a series. */
  apply(operation: Operation): Refusal | undefined;
  /** Brings schedulers and address filters in line with what is listed now. */
  finish(): void;
  /** Routes may have changed: full NAT takes the addresses that they prefer now. */
  routesChanged(): void;
};

/** Reads the table and gets ready to edit it. `wakeSweeper` makes the sweeper look at every connection soon. */
export function openTables(maps: TableMaps, wakeSweeper: () => void = () => undefined): Tables {
  const { services, destinations, settings } = maps;
  const listed = new Map<string, ListedService>();
  /** Deleted destinations that may still have connections, by service slot and key. */
  const deleted = new Map<string, number>();
  /** Slots of deleted services, by key. */
  const retired = new Map<string, number>();
  /** Services whose tables are to be dealt anew when this series is through. */
  const unscheduled = new Set<ListedService>();
  const hertz = settings.get(0, 'hz');
  const keyOf = lastKeyKept();
  /** Destinations were deleted whose connections the kernel's rule may end at once. */
  let orphaned = false;
  const filters = addressFilters(maps, listed, deleted);
  const hasConnections = (slot: number) => isBusy(destinations, slot);

  load();
  return { listed, apply, finish, routesChanged };

  function load(): void {
    const bySlot = new Map<number, ListedService>();
    const found: { order: number; entry: ListedService }[] = [];
    for (let slot = 1; slot <= settings.get(0, 'service_slots'); slot++) {
      if (!(services.get(slot, 'flags') & SERVICE_USED)) {
        retired.set(serviceKey(readServiceId(services, slot)), slot);
        continue;
      }
      const entry = { slot, service: readService(services, slot), destinations: new Map() };
      bySlot.set(slot, entry);
      found.push({ order: services.get(slot, 'added'), entry });
    }
    found.sort((a, b) => a.order - b.order);
    for (const { entry } of found) listed.set(serviceKey(entry.service.id), entry);
    // Only the last one added can have been cut off before packets could find it.
    const newest = found.at(-1);
    if (newest && newest.order === settings.get(0, 'order')) index(newest.entry);
    const listing: { order: number; slot: number }[] = [];
    for (let slot = 1; slot <= settings.get(0, 'destination_slots'); slot++) {
      const flags = destinations.get(slot, 'flags');
      if (flags & DESTINATION_AVAILABLE) listing.push({ order: destinations.get(slot, 'added'), slot });
      else if (flags & DESTINATION_USED) deleted.set(deletedKey(slot), slot);
    }
    listing.sort((a, b) => a.order - b.order);
    const linked = new Set([...bySlot.keys()].flatMap(chainOf));
    for (const { slot } of listing) {
      if (!linked.has(slot)) {
        // A command that was killed marked it but did not get to link it, or unlinked it and did not get to mark it.
        changeFlags(destinations, slot, { clear: DESTINATION_AVAILABLE });
        destinations.set(slot, 'deleted', uptimeSeconds());
        deleted.set(deletedKey(slot), slot);
        continue;
      }
      const destination = readDestination(destinations, slot, readLocalAddresses(maps, slot));
      bySlot
        .get(destinations.get(slot, 'service'))
        ?.destinations.set(destinationKey(destination), { slot, destination });
    }
  }

  /** The slots of a service's list as the program walks it. */
  function chainOf(service: number): number[] {
    const slots: number[] = [];
    for (let slot = services.get(service, 'first'); slot !== 0; slot = destinations.get(slot, 'next')) {
      slots.push(slot);
      if (slots.length > destinations.count) break;
    }
    return slots;
  }

  function deletedKey(slot: number): string {
    return `${destinations.get(slot, 'service')} ${destinationKey(readDestination(destinations, slot))}`;
  }

  function apply(operation: Operation): Refusal | undefined {
    const refusal = check(operation);
    if (refusal) return refusal;
    switch (operation.kind) {
      case 'add-service':
        return addService(operation.service);
      case 'edit-service':
        return editService(listed.get(serviceKey(operation.service.id))!, operation.service);
      case 'delete-service':
        return deleteService(listed.get(serviceKey(operation.id))!);
      case 'add-destination':
        return addDestination(listed.get(keyOf(operation.id))!, operation.destination);
      case 'edit-destination':
        return editDestination(listed.get(serviceKey(operation.id))!, operation.destination);
      case 'delete-destination':
        return deleteDestination(listed.get(serviceKey(operation.id))!, operation.destination);
      case 'set-timeouts':
        return setTimeouts(operation.timeouts);
      case 'set-sysctls':
        return setSysctls(operation.sysctls);
      case 'zero':
        if (!operation.id) zeroTotals(maps, settings.get(0, 'destination_slots'));
        for (const entry of operation.id ? [listed.get(serviceKey(operation.id))!] : listed.values()) {
          zeroCounters(
            maps,
            entry.slot,
            [...entry.destinations.values()].map(({ slot }) => slot),
          );
        }
        return undefined;
      case 'flush':
        for (const entry of [...listed.values()]) deleteService(entry);
        return undefined;
    }
  }

  /** The kernel's rules, asked with just the entries the operation is about. */
  function check(operation: Operation): Refusal | undefined {
    const id = idOf(operation);
    const entry = id && listed.get(keyOf(id));
    if (!entry) return checkOperation(operation, { services: [] });
    const named =
      'destination' in operation ? entry.destinations.get(destinationKey(operation.destination)) : undefined;
    const about =
      operation.kind === 'edit-service'
        ? [...entry.destinations.values()].map(({ destination }) => destination)
        : named
          ? [named.destination]
          : [];
    return checkOperation(operation, { services: [{ service: entry.service, destinations: about }] });
  }

  function addService(wanted: VirtualService): Refusal | undefined {
    const service = normaliseService(wanted);
    const key = serviceKey(service.id);
    const slot = slotForService(service.id);
    if (slot === undefined) return full('virtual services', services.count - 1);
    services.set(slot, 'first', 0);
    services.set(slot, 'count', 0);
    services.set(slot, 'local_seen', 0);
    services.set(slot, 'added', nextOrder());
    const entry: ListedService = { slot, service, destinations: new Map() };
    zeroCounters(maps, slot, []);
    writeService(services, slot, service);
    const problem = equipScheduler(maps, entry);
    if (problem) {
      services.set(slot, 'flags', 0);
      retired.set(key, slot);
      return problem;
    }
    listed.set(key, entry);
    filters.openService(entry);
    index(entry);
    return undefined;
  }

  /** Lets packets find the service. */
  function index({ slot, service }: ListedService): void {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(slot);
    maps.serviceIndex.update(encodeServiceKey(service.id), value);
  }

  /** The slot this service had before, so that its connections find it again; else a new one; else one nobody refers to. */
  function slotForService(id: ServiceId): number | undefined {
    const key = serviceKey(id);
    const before = retired.get(key);
    if (before !== undefined) {
      retired.delete(key);
      return before;
    }
    const used = settings.get(0, 'service_slots');
    if (used + 1 < services.count) {
      settings.set(0, 'service_slots', used + 1);
      return used + 1;
    }
    const busy = new Set(
      [...deleted.values()].filter(hasConnections).map((slot) => destinations.get(slot, 'service')),
    );
    for (const [other, slot] of retired) {
      if (busy.has(slot)) continue;
      retired.delete(other);
      forgetDeleted(slot);
      return slot;
    }
    return undefined;
  }

  /** Deleted destinations of a service whose slot goes to another one are of no more use. */
  function forgetDeleted(service: number): void {
    for (const [key, slot] of deleted) {
      if (destinations.get(slot, 'service') !== service) continue;
      deleted.delete(key);
      destinations.set(slot, 'flags', 0);
    }
  }

  /** Whether a deleted destination still counts as the one that comes back. */
  function isRemembered(slot: number): boolean {
    return hasConnections(slot) || uptimeSeconds() - destinations.get(slot, 'deleted') < rememberedSeconds;
  }

  function editService(entry: ListedService, service: VirtualService): Refusal | undefined {
    if (entry.service.scheduler !== service.scheduler) {
      const before = services.get(entry.slot, 'scheduler');
      // While tables are dealt, packets go by a scheduler that needs none.
      services.set(entry.slot, 'scheduler', SCHEDULER_WLC);
      const refusal = equipScheduler(maps, { ...entry, service });
      if (refusal) {
        services.set(entry.slot, 'scheduler', before);
        return refusal;
      }
    }
    entry.service = editedService(entry.service, service);
    writeService(services, entry.slot, entry.service);
    return undefined;
  }

  function deleteService(entry: ListedService): undefined {
    filters.widen();
    maps.serviceIndex.delete(encodeServiceKey(entry.service.id));
    // Before its destinations: whoever is killed between them leaves no service without any.
    services.set(entry.slot, 'flags', flagsOfDeleted(entry.service));
    for (const { destination } of [...entry.destinations.values()]) deleteDestination(entry, destination);
    services.set(entry.slot, 'table', 0);
    unscheduled.delete(entry);
    listed.delete(serviceKey(entry.service.id));
    retired.set(serviceKey(entry.service.id), entry.slot);
    return undefined;
  }

  function addDestination(entry: ListedService, wanted: Destination): Refusal | undefined {
    const destination = normaliseDestination(wanted, entry.service.id);
    const ends = findLocalEnds(maps, destination);
    if ('reason' in ends) return ends;
    const key = destinationKey(destination);
    const before = deleted.get(`${entry.slot} ${key}`);
    const used = settings.get(0, 'destination_slots');
    const slot = before ?? slotForDestination();
    if (slot === undefined) return full('destinations', destinations.count - 1);
    deleted.delete(`${entry.slot} ${key}`);
    const revived = before !== undefined && isRemembered(before);
    // Its counters stay with the service that it was in; one of the same name that was added since is another.
    const counted = revived && destinations.get(slot, 'added') > services.get(entry.slot, 'added');
    destinations.set(slot, 'service', entry.slot);
    destinations.set(slot, 'hop_kind', 0);
    destinations.set(slot, 'last_weight', 0);
    destinations.set(slot, 'added', nextOrder());
    const earlier = revived ? readDestination(destinations, slot) : destination;
    writeLocalEnds(maps, slot, ends);
    writeDestination(destinations, slot, destination);
    giveTunnelSource(slot, destination);
    const listing = { slot, destination };
    joinCounters(maps, entry.slot, slot, { fresh: !counted, neverUsed: slot > used });
    filters.openDestination(slot);
    if (revived) judgeOverload(destinations, slot, earlier, destination);
    makeAvailable(destinations, slot, destination, revived);
    destinations.set(slot, 'next', services.get(entry.slot, 'first'));
    services.set(entry.slot, 'first', slot);
    entry.destinations.set(key, listing);
    changed(entry);
    return undefined;
  }

  /** A slot that was never used, else that of a destination deleted long enough ago and without connections. */
  function slotForDestination(): number | undefined {
    const used = settings.get(0, 'destination_slots');
    if (used + 1 < destinations.count) {
      settings.set(0, 'destination_slots', used + 1);
      return used + 1;
    }
    const now = uptimeSeconds();
    for (const [key, slot] of deleted) {
      if (hasConnections(slot) || now - destinations.get(slot, 'deleted') <= restSeconds) continue;
      deleted.delete(key);
      return slot;
    }
    return undefined;
  }

  function editDestination(entry: ListedService, wanted: Destination): Refusal | undefined {
    const destination = normaliseDestination(wanted, entry.service.id);
    const listing = entry.destinations.get(destinationKey(destination))!;
    const before = listing.destination;
    const ends = findLocalEnds(maps, destination);
    if ('reason' in ends) return ends;
    writeLocalEnds(maps, listing.slot, ends);
    listing.destination = destination;
    giveTunnelSource(listing.slot, destination);
    noteTemplates(destinations, listing.slot, destination);
    writeDestination(destinations, listing.slot, destination);
    judgeOverload(destinations, listing.slot, before, destination);
    changed(entry);
    return undefined;
  }

  function routesChanged(): void {
    for (const { destinations: entries } of listed.values())
      for (const { slot, destination } of entries.values()) {
        const ends = destination.fullNat ? findLocalEnds(maps, destination) : undefined;
        if (ends && !('reason' in ends)) writeLocalEnds(maps, slot, ends);
      }
  }

  /** The outer header's source, which the program keeps up to date where the kernel tells it (Linux 6.7). */
  function giveTunnelSource(slot: number, { method, address }: Destination): void {
    if (method !== 'tunnel') return;
    const source = tunnelSource(address);
    if (source !== undefined) destinations.setAddress(slot, 'tunnel_source', encodeAddress(source));
  }

  function deleteDestination(entry: ListedService, id: DestinationId): Refusal | undefined {
    const key = destinationKey(id);
    const { slot } = entry.destinations.get(key)!;
    leaveCounters(maps, entry.slot, slot);
    const next = destinations.get(slot, 'next');
    const before = [...entry.destinations.values()].find(
      (other) => destinations.get(other.slot, 'next') === slot,
    );
    stepBack(maps, entry, slot, before?.slot ?? 0);
    if (before) destinations.set(before.slot, 'next', next);
    else services.set(entry.slot, 'first', next);
    changeFlags(destinations, slot, { clear: DESTINATION_AVAILABLE });
    destinations.set(slot, 'deleted', uptimeSeconds());
    entry.destinations.delete(key);
    deleted.set(`${entry.slot} ${key}`, slot);
    filters.widen();
    orphaned = true;
    changed(entry);
    return undefined;
  }

  function changed(entry: ListedService): undefined {
    services.set(entry.slot, 'count', entry.destinations.size);
    // The wheel of wrr depends on every change before; tables depend on the last one only.
    if (entry.service.scheduler === 'wrr') rescheduleDestinations(maps, entry);
    else unscheduled.add(entry);
  }

  function setTimeouts(timeouts: Partial<Timeouts>): undefined {
    const { state } = numbers;
    const places = { tcp: state.STATE_ESTABLISHED, tcpFin: state.STATE_FIN_WAIT, udp: state.STATE_UDP };
    for (const [name, place] of Object.entries(places)) {
      const seconds = timeouts[name as keyof Timeouts];
      if (seconds) settings.set(0, 'timeout', seconds * hertz, place);
    }
    return undefined;
  }

  function setSysctls(sysctls: Partial<Sysctls>): Refusal | undefined {
    const fixed = refuseOtherMhTable(sysctls, settings.get(0, 'mh_tab_index'));
    if (fixed) return fixed;
    for (const name of tableSysctlNames) {
      const value = sysctls[name];
      if (value !== undefined) settings.set(0, name, value);
    }
    if (sysctls.ftp_ports) writeFtpPorts(settings, sysctls.ftp_ports);
    return undefined;
  }

  function nextOrder(): number {
    const order = settings.get(0, 'order') + 1;
    settings.set(0, 'order', order);
    return order;
  }

  function finish(): void {
    for (const entry of unscheduled) rescheduleDestinations(maps, entry);
    unscheduled.clear();
    if (orphaned && settings.get(0, 'expire_nodest_conn')) wakeSweeper();
    orphaned = false;
    filters.narrow();
  }
}

function idOf(operation: Operation): ServiceId | undefined {
  if ('service' in operation) return operation.service.id;
  return 'id' in operation ? operation.id : undefined;
}

function full(what: string, most: number): Refusal {
  return { reason: 'table-full', detail: `there is room for ${most} ${what}` };
}

function uptimeSeconds(): number {
  return Math.floor(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]));
}
