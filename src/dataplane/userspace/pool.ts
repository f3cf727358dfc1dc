import { noOutcomes, type Outcomes } from '../../model/outcome.ts';
import { overloadAfterConnect, overloadAfterEdit, overloadAfterRelease } from '../../model/overload.ts';
import { type Scheduling, startScheduler } from '../../model/schedulers/by-name.ts';
import { type DestinationView, lastWeightAfter } from '../../model/schedulers/scheduler.ts';
import { destinationKey, serviceFamily } from '../../model/service-id.ts';
import type { Destination, DestinationId, VirtualService } from '../../model/virtual-service.ts';
import { editedService } from '../../model/when-gone.ts';
import { newTraffic, type Traffic, zeroTraffic } from './traffic.ts';

/** A deleted destination is remembered for this long, and while it has connections (IP_VS_DEST_TRASH_PERIOD). */
const rememberedMs = 120_000;

/** A destination at work; the scheduler reads it as it is. */
export type Member = { -readonly [Field in keyof DestinationView]: DestinationView[Field] } & {
  destination: Destination;
  /** The service it is in, or was in when it was deleted. */
  pool: Pool;
  readonly traffic: Traffic;
  /** What became of its connections. */
  readonly outcomes: { -readonly [Name in keyof Outcomes]: number };
};

/** Persistence: connections of these clients go to this destination until the template expires. */
export type Template = {
  readonly member: Member;
  readonly client: DestinationId;
  /** What the client called, and who serves it; port 0 stands for every port. */
  readonly virtual: DestinationId;
  readonly destination: DestinationId;
  /** A real server has answered by it (IP_VS_CTPL_S_ASSURED). */
  assured: boolean;
  /** How long it lasts from each new connection on. */
  lifetimeMs: number;
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

/** A virtual service without destinations; `deleted` may remember those it had before. */
export function createPool(service: VirtualService, deleted: Pool['deleted']): Pool {
  return {
    service,
    members: [],
    templates: new Map(),
    traffic: newTraffic(),
    scheduling: startScheduler(service.scheduler, [], serviceFamily(service.id)),
    deleted,
  };
}

/** Gives the service other settings; a scheduler that stays the same keeps its state. */
export function editService(pool: Pool, service: VirtualService): void {
  const { scheduler } = pool.service;
  pool.service = editedService(pool.service, service);
  if (!service.persistence) pool.templates.clear();
  if (scheduler === service.scheduler) return;
  pool.scheduling = startScheduler(service.scheduler, pool.members, serviceFamily(service.id));
}

/** Puts a destination at the head of the list; one deleted a short while ago has its connections again, and its counters. */
export function addMember(pool: Pool, destination: Destination, nowMs: number): void {
  const key = destinationKey(destination);
  forgetDeleted(pool.deleted, nowMs);
  const back = pool.deleted.get(key)?.member;
  pool.deleted.delete(key);
  const member: Member = back ?? {
    address: destination.address,
    port: destination.port,
    weight: destination.weight,
    lastWeight: 0,
    active: 0,
    total: 0,
    overloaded: false,
    available: true,
    destination,
    pool,
    traffic: newTraffic(),
    outcomes: { ...noOutcomes },
  };
  if (back) member.overloaded = overloadAfterEdit(back.overloaded, back.total, back.destination, destination);
  // What it counted stays with the service it was in; one of the same name that was added since is another.
  if (member.pool !== pool) zeroTraffic(member.traffic);
  member.pool = pool;
  member.destination = destination;
  member.weight = destination.weight;
  member.lastWeight = lastWeightAfter(undefined, destination.weight);
  member.available = true;
  pool.members.unshift(member);
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
  forgetDeleted(pool.deleted, nowMs);
  pool.deleted.set(destinationKey(id), { member, untilMs: nowMs + rememberedMs });
  pool.scheduling.changed(pool.members);
  return member;
}

/** Forgets destinations that were deleted long enough ago and have no connection. */
export function forgetDeleted(deleted: Pool['deleted'], nowMs: number): void {
  for (const [key, { member, untilMs }] of deleted)
    if (untilMs <= nowMs && member.total === 0) deleted.delete(key);
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
