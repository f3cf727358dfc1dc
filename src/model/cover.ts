import { memberKey, type Override, type OverrideState, takenOut } from './override.ts';
import { type AgentVerdict, type PoolRules, poolOf, type Verdict } from './pool.ts';
import { destinationKey, equalDestination, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import type { Destination, DestinationId, ServiceId } from './virtual-service.ts';

/*
 * What people have decided and what health says lie over a table: they take weights and entries away, and add sorry
 * servers. What is under them is remembered, so that it is never taken for a change that somebody made, and comes back.
 */

/** An entry that is not what configuration and runtime changes made of it. */
export type Cover = {
  readonly service: ServiceId;
  readonly destination: DestinationId;
  /** What it is under the cover; absent: not there. */
  readonly under?: Destination;
  /** What the table shows; absent: nothing. */
  readonly over?: Destination;
};

/** What lies over a table. */
export type Decisions = {
  readonly overrides: readonly Override[];
  /** Rules by serviceKey; a service that has none is one that the configuration does not describe. */
  readonly pools?: ReadonlyMap<string, PoolRules>;
  /** By memberKey; undefined: no result yet. */
  readonly verdictOf?: (member: string) => Verdict | undefined;
  /** What agents say, by memberKey. */
  readonly agentOf?: (member: string) => AgentVerdict | undefined;
  /** Services, by serviceKey, that have lost their quorum. */
  readonly lost?: ReadonlySet<string>;
  /** What was covered before: it stays for those whose rules nobody knows. */
  readonly covers?: readonly Cover[];
};

/** What decisions make of a table. */
export type Covered = {
  readonly table: Table;
  readonly covers: readonly Cover[];
  /** Those of the table's services that are without their quorum. */
  readonly lost: readonly string[];
};

/** A table with decisions over it. */
export function coverTable(table: Table, decisions: Decisions): Covered {
  const { overrides, pools, covers: before = [], lost: wasLost } = decisions;
  const overridden = statesOf(overrides);
  const earlier = new Map(before.map((cover) => [coverKey(cover), cover]));
  const covers: Cover[] = [];
  const lost: string[] = [];
  const cover = (entry: ServiceEntry): ServiceEntry => {
    const key = serviceKey(entry.service.id);
    const rules = pools?.get(key);
    if (
      rules
        ? isPlain(rules) && !rules.agents && overridden.size === 0
        : overridden.size === 0 && earlier.size === 0
    )
      return entry;
    const { destinations, isLost } = rules
      ? pooled(entry, rules, decisions, overridden)
      : { destinations: asBefore(entry, decisions, overridden, earlier), isLost: wasLost?.has(key) === true };
    if (isLost) lost.push(key);
    const found = differences(entry, destinations);
    covers.push(...found);
    return found.length === 0 ? entry : { ...entry, destinations };
  };
  return { table: { services: table.services.map(cover) }, covers, lost };
}

/** Checks can change nothing: what the table says is all there is. */
const isPlain = ({ checks, sorryServer }: PoolRules): boolean => checks.size === 0 && !sorryServer;

type States = ReadonlyMap<string, OverrideState>;

function pooled(
  { service: { id }, destinations }: ServiceEntry,
  rules: PoolRules,
  { verdictOf, agentOf, lost }: Decisions,
  overridden: States,
): ReturnType<typeof poolOf> {
  const key = serviceKey(id);
  const candidates = destinations.map((destination) => {
    const place = destinationKey(destination);
    const override = overridden.get(`${key} ${place}`);
    const checks = rules.checks.get(place) ?? [];
    const verdict = checks.length === 0 ? undefined : verdictOf?.(`${key} ${place}`);
    const agent = rules.agents?.has(place) ? agentOf?.(`${key} ${place}`) : undefined;
    return {
      ...{ destination, checks },
      ...(verdict && { verdict }),
      ...(agent && { agent }),
      ...(override && { override }),
    };
  });
  const pool = poolOf(candidates, rules, lost?.has(key) === true);
  // Who is not checked and has no stand-in has no quorum to lose.
  return isPlain(rules) ? { ...pool, isLost: false } : pool;
}

/** A service whose rules nobody knows: people's decisions, and who is known to be down stays as it was covered. */
function asBefore(
  { service: { id }, destinations }: ServiceEntry,
  { verdictOf, lost }: Decisions,
  overridden: States,
  earlier: ReadonlyMap<string, Cover>,
): readonly Destination[] {
  const key = serviceKey(id);
  const standIns = [...earlier.values()].flatMap(({ service, under, over }) =>
    over && !under && serviceKey(service) === key ? over : [],
  );
  // Without one in place, all covers but those of who is down are people's.
  const isLost = lost?.has(key) === true && standIns.length > 0;
  const present = destinations.flatMap((destination) => {
    const member = memberKey(id, destination);
    const before = earlier.get(member);
    const state = overridden.get(member);
    if (state) return takenOut(destination, state);
    if (!before || (!isLost && verdictOf?.(member)?.isUp !== false)) return destination;
    return before.over ? { ...destination, weight: before.over.weight } : [];
  });
  return isLost ? [...present, ...standIns] : present;
}

/** Covers of one service, from what is under them and what is over it. */
function differences({ service, destinations }: ServiceEntry, over: readonly Destination[]): Cover[] {
  if (over === destinations) return [];
  const shown = new Map(over.map((destination) => [destinationKey(destination), destination]));
  const covers: Cover[] = [];
  for (const under of destinations) {
    const key = destinationKey(under);
    const top = shown.get(key);
    shown.delete(key);
    if (top && equalDestination(top, under)) continue;
    covers.push({ ...memberOf(service.id, under), under, ...(top && { over: top }) });
  }
  for (const added of shown.values()) covers.push({ ...memberOf(service.id, added), over: added });
  return covers;
}

const memberOf = (service: ServiceId, { address, port }: DestinationId) => ({
  service,
  destination: { address, port },
});

/**
 * The table that is under covers. An entry that is not as its cover says was not covered: whoever covers it was stopped
 * half-way, and what it shows is what it has. Of two covers of one entry the later counts, where the entry is as both say.
 */
export function uncoverTable(found: Table, covers: readonly Cover[]): Table {
  if (covers.length === 0) return found;
  const byService = new Map<string, Map<string, Cover[]>>();
  for (const cover of covers) {
    const key = serviceKey(cover.service);
    const members = byService.get(key) ?? new Map<string, Cover[]>();
    byService.set(key, members);
    const place = destinationKey(cover.destination);
    members.set(place, [cover, ...(members.get(place) ?? [])]);
  }
  return {
    services: found.services.map((entry): ServiceEntry => {
      const members = byService.get(serviceKey(entry.service.id));
      return members ? { ...entry, destinations: uncovered(entry.destinations, members) } : entry;
    }),
  };
}

function uncovered(
  found: readonly Destination[],
  members: ReadonlyMap<string, readonly Cover[]>,
): readonly Destination[] {
  const there = new Set(found.map(destinationKey));
  const kept = found.flatMap((destination) => {
    const cover = members
      .get(destinationKey(destination))
      ?.find(({ over }) => over && equalDestination(over, destination));
    return cover ? (cover.under ?? []) : destination;
  });
  const removed = [...members].flatMap(([place, covers]) =>
    there.has(place) ? [] : (covers.find(({ over }) => !over)?.under ?? []),
  );
  return [...kept, ...removed];
}

/**
 * Operations as they are with decisions in force, and what is covered when all of them were done. What is written to an
 * entry that is covered is written under the cover. An entry that goes stays covered: should it come back by another way, it
 * is what it was. An operation that has nothing to do in the table is undefined.
 */
export function coverOperations(
  operations: readonly Operation[],
  { overrides, covers = [] }: Pick<Decisions, 'overrides' | 'covers'>,
): { readonly operations: readonly (Operation | undefined)[]; readonly covers: readonly Cover[] } {
  const overridden = statesOf(overrides);
  const current = new Map(covers.map((cover) => [coverKey(cover), cover]));
  const cover = (operation: Operation): Operation | undefined => {
    if (operation.kind !== 'add-destination' && operation.kind !== 'edit-destination') return operation;
    const { id, destination } = operation;
    const { weight } = destination;
    const key = memberKey(id, destination);
    const before = current.get(key);
    // A weight that no table takes is left to be refused.
    if (weight < 0 || weight >= 2 ** 31 || (!before && !overridden.has(key))) return operation;
    // Nobody sees it in the table, so there is none to edit.
    if (before && !before.over && operation.kind === 'edit-destination') return operation;
    const over = overOf(destination, before, overridden.get(key));
    const isStandIn = before !== undefined && !before.under;
    current.set(key, {
      ...memberOf(id, destination),
      ...(!isStandIn && { under: destination }),
      ...(over && { over }),
    });
    return over && { ...operation, destination: over };
  };
  return { operations: operations.map(cover), covers: [...current.values()] };
}

function overOf(
  destination: Destination,
  before: Cover | undefined,
  override: OverrideState | undefined,
): Destination | undefined {
  if (override) return takenOut(destination, override);
  return before?.over && { ...destination, weight: before.over.weight };
}

const coverKey = ({ service, destination }: Cover): string => memberKey(service, destination);

const statesOf = (overrides: readonly Override[]): States =>
  new Map(
    overrides.flatMap(({ members, state }) =>
      members.map(({ service, destination }) => [memberKey(service, destination), state] as const),
    ),
  );
