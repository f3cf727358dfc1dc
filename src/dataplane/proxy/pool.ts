import { overloadAfterConnect, overloadAfterEdit, overloadAfterRelease } from '../../model/overload.ts';
import { type Scheduling, startScheduler } from '../../model/schedulers/by-name.ts';
import { type DestinationView, lastWeightAfter } from '../../model/schedulers/scheduler.ts';
import { destinationKey, serviceFamily } from '../../model/service-id.ts';
import type { Destination, DestinationId, VirtualService } from '../../model/virtual-service.ts';
import { newTraffic, type Traffic } from './traffic.ts';

/** A deleted destination that comes back within this time has its counters again (IP_VS_DEST_TRASH_PERIOD). */
const rememberedMs = 120_000;

/** A destination at work; the scheduler reads it as it is. */
export type Member = { -readonly [Field in keyof DestinationView]: DestinationView[Field] } & {
  destination: Destination;
  readonly traffic: Traffic;
};

/** Persistence: connections of these clients go to this destination until the template expires. */
export type Template = {
  readonly member: Member;
  readonly client: DestinationId;
  expiresAtMs: number;
  /** Connections that were scheduled by it and still live. */
  connections: number;
};

/** A virtual service at work. */
export type Pool = {
  service: VirtualService;
  /** Newest first, the order schedulers walk. */
  readonly members: Member[];
  /** By masked client address. */
  readonly templates: Map<string, Template>;
  readonly traffic: Traffic;
  scheduling: Scheduling;
  /** Members deleted a short while ago, by destinationKey. */
  readonly deleted: Map<string, { readonly member: Member; readonly untilMs: number }>;
};

/** A virtual service without destinations. */
export function createPool(service: VirtualService): Pool {
  return {
    service,
    members: [],
    templates: new Map(),
    traffic: newTraffic(),
    scheduling: startScheduler(service.scheduler, [], serviceFamily(service.id)),
    deleted: new Map(),
  };
}

/** Gives the service other settings; a scheduler that stays the same keeps its state. */
export function editService(pool: Pool, service: VirtualService): void {
  const { scheduler } = pool.service;
  pool.service = service;
  if (!service.persistence) pool.templates.clear();
  if (scheduler === service.scheduler) return;
  pool.scheduling = startScheduler(service.scheduler, pool.members, serviceFamily(service.id));
}

/** Puts a destination at the head of the list; one deleted a short while ago has its counters again. */
export function addMember(pool: Pool, destination: Destination, nowMs: number): void {
  const key = destinationKey(destination);
  const before = pool.deleted.get(key);
  const traffic = before && before.untilMs > nowMs ? before.member.traffic : newTraffic();
  pool.deleted.delete(key);
  pool.members.unshift({
    address: destination.address,
    port: destination.port,
    weight: destination.weight,
    lastWeight: lastWeightAfter(undefined, destination.weight),
    active: 0,
    total: 0,
    overloaded: false,
    available: true,
    destination,
    traffic,
  });
  pool.scheduling.changed(pool.members);
}

/** Gives a destination other settings; it keeps its place, its connections and its counters. */
export function editMember(pool: Pool, destination: Destination): void {
  const member = findMember(pool, destination)!;
  const before = member.destination;
  member.destination = destination;
  member.weight = destination.weight;
  member.lastWeight = lastWeightAfter(member.lastWeight, destination.weight);
  member.overloaded = overloadAfterEdit(member.overloaded, member.total, before, destination);
  pool.scheduling.changed(pool.members);
}

/** Takes a destination off the list; ending its connections is the caller's. */
export function removeMember(pool: Pool, id: DestinationId, nowMs: number): Member {
  const member = findMember(pool, id)!;
  member.available = false;
  pool.members.splice(pool.members.indexOf(member), 1);
  for (const [key, template] of pool.templates) if (template.member === member) pool.templates.delete(key);
  for (const [key, { untilMs }] of pool.deleted) if (untilMs <= nowMs) pool.deleted.delete(key);
  pool.deleted.set(destinationKey(id), { member, untilMs: nowMs + rememberedMs });
  pool.scheduling.changed(pool.members);
  return member;
}

function findMember(pool: Pool, id: DestinationId): Member | undefined {
  return pool.members.find(({ address, port }) => address === id.address && port === id.port);
}

/** Counts a connection that begins at a member. */
export function connectMember(member: Member, active: boolean): void {
  member.total++;
  if (active) member.active++;
  member.overloaded = overloadAfterConnect(member.overloaded, member.total, member.destination);
}

/** Counts a connection that has ended. */
export function releaseMember(member: Member, active: boolean): void {
  member.total--;
  if (active) member.active--;
  member.overloaded = overloadAfterRelease(member.overloaded, member.total, member.destination);
}
