import { destinationKey, serviceKey } from './service-id.ts';
import type { Operation, ServiceEntry, Table } from './table.ts';
import type { Destination, DestinationId, ServiceId } from './virtual-service.ts';

/**
 * The states a person puts a real server in; the third, `ready`, is to have no override. HAProxy's meanings: `drain` has no
 * new clients, while those that persistence brings back and connections that are there go on, and checks go on;
 * `maintenance` has no new connections at all, and no checks. Connections that are there go on in both.
 */
export const overrideStates = ['drain', 'maintenance'] as const;
export type OverrideState = (typeof overrideStates)[number];

/** An entry of a data plane by what names it. */
export type Member = { readonly service: ServiceId; readonly destination: DestinationId };

/** What a person has decided about a real server of a virtual service. */
export type Override = {
  /** The names that the configuration gives them, else what they are in the data plane. */
  readonly service: string;
  readonly realServer: string;
  readonly state: OverrideState;
  readonly reason?: string;
  /** When the state was entered, in ISO 8601. */
  readonly since: string;
  readonly by: string;
  /** Its entries in the data plane, one for each address of the service; whether they are there or not. */
  readonly members: readonly Member[];
};

/** The weight an entry has under an override, which shows 0. */
export type Covered = Member & { readonly weight: number };

/** What a person asks for. */
export type OverrideRequest = {
  /** `SERVICE/REAL`, or a real server's name or address: then in every service that has it. */
  readonly realServer: string;
  readonly state: OverrideState | 'ready';
  readonly reason?: string;
  readonly by: string;
  /** Also when it takes much away. */
  readonly yes: boolean;
};

/** A real server that has an override, or had one. */
export type OverrideStatus = Pick<Override, 'service' | 'realServer' | 'members'> &
  Partial<Pick<Override, 'reason' | 'since' | 'by'>> & {
    readonly state: OverrideState | 'ready';
    /** Whether the request changed the state; in a list always false. */
    readonly changed: boolean;
    /** Connections that have not ended. */
    readonly connections: number;
    /** Of the members that are there: the weight under the override, and what the configuration says where it has it. */
    readonly weights: readonly {
      readonly entry: string;
      readonly weight: number;
      readonly configured?: number;
    }[];
  };

/** A reason is one line of up to 200 characters. */
export const isReason = (text: string): boolean => /^[^\p{Cc}]{1,200}$/u.test(text);

/** The decision about an entry; undefined when there is none. */
export function decisionOn(
  overrides: readonly Override[],
  service: ServiceId,
  destination: DestinationId,
): Override | undefined {
  const key = memberKey(service, destination);
  return overrides.find(({ members }) =>
    members.some((one) => memberKey(one.service, one.destination) === key),
  );
}

/** `in maintenance: new disk, since 2026-11-21T09:14:02Z, by anna`. */
export function decisionText({ state, reason, since, by }: Override): string {
  const how = state === 'drain' ? 'draining' : 'in maintenance';
  const why = reason === undefined ? '' : `${reason}, `;
  return `${how}: ${why}since ${since.replace(/\.\d+Z$/, 'Z')}, by ${by}`;
}

/** The command that ends a decision. */
export function readyCommand({ service, realServer }: Pick<Override, 'service' | 'realServer'>): string {
  const name = `${service}/${realServer}`;
  return `headgate ready ${name.includes(' ') ? `'${name}'` : name}`;
}

/** A Map key: the entry of a service. */
export const memberKey = (service: ServiceId, destination: DestinationId): string =>
  `${serviceKey(service)} ${destinationKey(destination)}`;

/** A table with overrides over it, and what they cover. */
export function coverTable(
  table: Table,
  overrides: readonly Override[],
): { readonly table: Table; readonly covered: readonly Covered[] } {
  const overridden = membersOf(overrides);
  if (overridden.size === 0) return { table, covered: [] };
  const covered: Covered[] = [];
  const cover = (service: ServiceId, destination: Destination): Destination => {
    if (!overridden.has(memberKey(service, destination))) return destination;
    const { address, port, weight } = destination;
    covered.push({ service, destination: { address, port }, weight });
    return { ...destination, weight: 0 };
  };
  return { table: mapDestinations(table, cover), covered };
}

/**
 * The table that is under overrides. An entry whose weight is not 0 was not covered: whoever covers it was stopped
 * half-way, and what it shows is what it has.
 */
export function uncoverTable(found: Table, covered: readonly Covered[]): Table {
  if (covered.length === 0) return found;
  const weights = byMember(covered);
  return mapDestinations(found, (service, destination) => {
    const under = weights.get(memberKey(service, destination));
    return under && destination.weight === 0 ? { ...destination, weight: under.weight } : destination;
  });
}

/**
 * Operations as they are with overrides in force, and what is covered when all of them were done. An entry that goes stays
 * covered: should it come back by another way, it has the weight it had.
 */
export function coverOperations(
  operations: readonly Operation[],
  overrides: readonly Override[],
  covered: readonly Covered[],
): { readonly operations: readonly Operation[]; readonly covered: readonly Covered[] } {
  const overridden = membersOf(overrides);
  const written: Covered[] = [];
  const cover = (operation: Operation): Operation => {
    if (operation.kind !== 'add-destination' && operation.kind !== 'edit-destination') return operation;
    const { id, destination } = operation;
    const { address, port, weight } = destination;
    // A weight that no table takes is left to be refused.
    const valid = weight >= 0 && weight < 2 ** 31;
    if (!overridden.has(memberKey(id, destination)) || !valid) return operation;
    written.push({ service: id, destination: { address, port }, weight });
    return { ...operation, destination: { ...destination, weight: 0 } };
  };
  return { operations: operations.map(cover), covered: coveredByEither(covered, written) };
}

/** What is covered by either; `later` knows better. */
export function coveredByEither(earlier: readonly Covered[], later: readonly Covered[]): readonly Covered[] {
  return [...byMember([...earlier, ...later]).values()];
}

const membersOf = (overrides: readonly Override[]): ReadonlySet<string> =>
  new Set(
    overrides.flatMap(({ members }) =>
      members.map(({ service, destination }) => memberKey(service, destination)),
    ),
  );

const byMember = (covered: readonly Covered[]): Map<string, Covered> =>
  new Map(covered.map((one) => [memberKey(one.service, one.destination), one]));

function mapDestinations(
  { services }: Table,
  change: (service: ServiceId, destination: Destination) => Destination,
): Table {
  return {
    services: services.map(
      (entry): ServiceEntry => ({
        ...entry,
        destinations: entry.destinations.map((destination) => change(entry.service.id, destination)),
      }),
    ),
  };
}
