import { type ConnectionCount, countEach } from '../model/connection-batches.ts';
import { type Cover, coverTable, uncoverTable } from '../model/cover.ts';
import { HeadgateError } from '../model/errors.ts';
import { memberKey, type Override, type OverrideRequest, type OverrideStatus } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Connection, DestinationState, Observed, Table } from '../model/table.ts';
import { findDestination, findService } from '../model/validate.ts';
import { applyChange } from './apply.ts';
import { type Change, changeBetween, tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { decisionsOf, type HealthKept, healthKept } from './decisions.ts';
import type { NoteEvent } from './events.ts';
import { healthOf, readHealth, writeHealth } from './health-store.ts';
import { findServers, isSame, type Named, namedServers } from './override-names.ts';
import { readCovers, readOverrides, writeCovers, writeOverrides } from './override-store.ts';
import type { Wanted } from './wanted.ts';

/** What names things, and what is said of them when there is no override: the configuration in force. */
export type Names = Pick<Wanted, 'table' | 'names' | 'pools'>;

/** What lies over a table, as it is to be once a change is done. */
export type Decided = {
  /** What people have decided about real servers. */
  readonly overrides: readonly Override[];
  /** What checks have found, as far as it has to be remembered. */
  readonly health: HealthKept;
  /** What the two cover. */
  readonly covers: readonly Cover[];
};

/** The table under overrides and health: what configuration and runtime changes came to. */
export function tableUnder(controller: Controller, { services }: Observed): Table {
  return underCovers(controller, tableOf(services));
}

/** The same of the rules alone. */
export function underCovers(controller: Controller, found: Table): Table {
  return uncoverTable(found, readCovers(controller));
}

/**
 * Does a change of the table `observed` that goes with decisions, all of it or nothing. Stopped at any moment, it leaves a table and
 * decisions from which the next change goes on: what is decided is written before it is done, and what is taken back is
 * forgotten after it is done. Rejects with HG_APPLY_REFUSED.
 */
export async function applyDecided(
  controller: Controller,
  change: Change,
  { overrides, health, covers }: Decided,
  observed: Observed,
): Promise<void> {
  const before = {
    overrides: readOverrides(controller),
    health: readHealth(controller),
    covers: readCovers(controller),
  };
  const leaving = before.overrides.filter((one) => !overrides.some((other) => isSame(one, other)));
  // An entry is as one of the two says, whenever this ends.
  if (change.steps.length > 0) writeCovers(controller, [...before.covers, ...covers]);
  writeHealth(controller, health);
  writeOverrides(controller, [...overrides, ...leaving]);
  try {
    await applyChange(controller, change, observed);
  } catch (error) {
    // Any other error leaves a table nobody knows, as a process that is killed does.
    if (error instanceof HeadgateError && error.code === 'HG_APPLY_REFUSED') {
      writeOverrides(controller, before.overrides);
      writeHealth(controller, before.health);
      writeCovers(controller, before.covers);
    }
    throw error;
  }
  writeCovers(controller, covers);
  writeOverrides(controller, overrides);
}

/** Every override, with the connections that are left. */
export async function listOverrides(
  controller: Controller,
  names: Names,
): Promise<readonly OverrideStatus[]> {
  const overrides = readOverrides(controller);
  if (overrides.length === 0) return [];
  const observed = await controller.read();
  return statuses(controller, names, observed, overrides, overrides, () => false);
}

/**
 * Takes real servers out, or puts them back. Resolves to what they are then. Rejects with HG_UNKNOWN_NAME, and with
 * HG_NEEDS_YES when it takes much away and nobody has said yes.
 */
export async function changeOverrides(
  controller: Controller,
  { table, names, pools }: Names,
  request: OverrideRequest,
  now: Date,
): Promise<readonly OverrideStatus[]> {
  const before = readOverrides(controller);
  const observed = await controller.read();
  const under = tableUnder(controller, observed);
  const meant = findServers(request.realServer, namedServers({ table, names }, under, before));
  const isMeant = (one: Pick<Override, 'service' | 'realServer'>) =>
    meant.some((other) => isSame(one, other));
  const others = before.filter((one) => !isMeant(one));
  const { state } = request;
  const overrides =
    state === 'ready'
      ? others
      : [...others, ...meant.map((one) => decide(one, before, { ...request, state }, now))];
  const health = await healthOf(controller);
  const decisions = decisionsOf(health, { overrides, pools, covers: readCovers(controller) });
  const { table: over, covers, lost } = coverTable(under, decisions);
  const change = changeBetween({ table: over, own: true, timeouts: {}, names }, observed);
  if (change.concerns.length > 0 && !request.yes)
    throw new HeadgateError(
      'HG_NEEDS_YES',
      `Cannot ${deed(state, request.realServer)} without a word: ${change.concerns.join('; ')}`,
    );
  const decided = { overrides, covers, health: healthKept(health, pools, lost) };
  await applyDecided(controller, change, decided, observed);
  const was = (one: Named) => before.find((other) => isSame(one, other))?.state ?? 'ready';
  const after = change.steps.length > 0 ? await controller.read() : observed;
  return statuses(controller, { table, names }, after, meant, overrides, (one) => was(one) !== state);
}

function deed(state: OverrideRequest['state'], realServer: string): string {
  if (state === 'drain') return `drain "${realServer}"`;
  return state === 'maintenance' ? `put "${realServer}" into maintenance` : `make "${realServer}" ready`;
}

function decide(
  { service, realServer, members }: Named,
  before: readonly Override[],
  { state, reason, by }: OverrideRequest & Pick<Override, 'state'>,
  now: Date,
): Override {
  const earlier = before.find((one) => isSame(one, { service, realServer }));
  const same = earlier?.state === state ? earlier : undefined;
  const why = reason ?? earlier?.reason;
  return {
    service,
    realServer,
    state,
    ...(why !== undefined && { reason: why }),
    since: same?.since ?? now.toISOString(),
    by,
    members,
  };
}

async function statuses(
  controller: Controller,
  { table }: Names,
  observed: Observed,
  servers: readonly Named[],
  overrides: readonly Override[],
  isChanged: (one: Named) => boolean,
): Promise<readonly OverrideStatus[]> {
  const under = tableUnder(controller, observed);
  const states = new Map(
    observed.services.flatMap(({ service, destinations }) =>
      destinations.map((one) => [memberKey(service.id, one.destination), one] as const),
    ),
  );
  const present = servers.map(({ members }) =>
    members.flatMap(({ service, destination }) => {
      const state = states.get(memberKey(service, destination));
      return state ? [{ service, destination, state }] : [];
    }),
  );
  const found = await countsWhereNeeded(controller, observed, present.flat());
  return servers.map((server, i) => {
    const { state = 'ready', reason, since, by } = overrides.find((one) => isSame(one, server)) ?? {};
    return {
      service: server.service,
      realServer: server.realServer,
      state,
      ...(reason !== undefined && { reason }),
      ...(since !== undefined && { since }),
      ...(by !== undefined && { by }),
      changed: isChanged(server),
      connections: present[i]!.reduce((sum, one) => sum + connectionsLeft(one, found), 0),
      members: server.members,
      weights: present[i]!.map(({ service, destination }) => {
        const weightIn = (some: Table) => {
          const entry = findService(some, service);
          return entry && findDestination(entry, destination)?.weight;
        };
        const configured = weightIn(table);
        return {
          entry: memberKey(service, destination),
          weight: weightIn(under)!,
          ...(configured !== undefined && { configured }),
        };
      }),
    };
  });
}

type Present = Override['members'][number] & { readonly state: DestinationState };

/** Above this the list of connections is too dear to be read every second, where the plane does not count them itself. */
const mostListed = 100_000;

/** States of a connection that is over for both its ends and kept to catch late packets. */
const endedStates = ['TIME_WAIT', 'CLOSE', 'CLOSED'];

/** The connection table, where the counts of the rules do not tell what has ended; undefined: what they count is left. */
async function countsWhereNeeded(
  controller: Controller,
  { services }: Observed,
  present: readonly Present[],
): Promise<readonly ConnectionCount[] | undefined> {
  if (present.every(({ state }) => state.inactiveConnections === 0)) return undefined;
  if (controller.connectionCounts) return controller.connectionCounts();
  const all = services.flatMap(({ destinations }) => destinations);
  const total = all.reduce((sum, one) => sum + one.activeConnections + one.inactiveConnections, 0);
  if (total > mostListed) return undefined;
  const counts: ConnectionCount[] = [];
  for await (const one of countEach(controller.connections())) counts.push(one);
  return counts;
}

function connectionsLeft(present: Present, found: readonly ConnectionCount[] | undefined): number {
  const counted = present.state.activeConnections + present.state.inactiveConnections;
  if (found === undefined) return counted;
  const open = found.filter(({ like }) => isOf(present, like) && !endedStates.includes(like.state));
  return Math.min(
    counted,
    open.reduce((sum, { count }) => sum + count, 0),
  );
}

/** Whether a connection goes to this entry; those of a mark are told by their real server alone. */
function isOf({ service, destination }: Present, connection: Connection): boolean {
  if (connection.template || destinationKey(connection.destination) !== destinationKey(destination))
    return false;
  if (service.kind === 'fwmark') return true;
  const { protocol, virtual } = connection;
  if (service.port === 0) return protocol === service.protocol && virtual.address === service.address;
  return serviceKey(service) === `${protocol} ${destinationKey(virtual)}`;
}

/** Tells of the real servers that a request changed. */
export function noteOverrides(servers: readonly OverrideStatus[], by: string, note: NoteEvent): void {
  for (const { service, realServer: name, state, reason, changed } of servers) {
    if (!changed) continue;
    const realServer = `${service}/${name}`;
    const why = reason === undefined ? '' : `: ${reason}`;
    const what = `${realServer} ${state}, by ${by}${why}`;
    note({ kind: 'override-set', what, realServer, state, by, ...(reason !== undefined && { reason }) });
  }
}
