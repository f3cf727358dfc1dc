import { destinationKey, serviceKey } from './service-id.ts';
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
  return `headgate ready ${memberWord(service, realServer)}`;
}

/** SERVICE/REALSERVER as one word of a command. */
export function memberWord(service: string, realServer: string): string {
  const name = `${service}/${realServer}`;
  return name.includes(' ') ? `'${name}'` : name;
}

/** A Map key: the entry of a service. */
export const memberKey = (service: ServiceId, destination: DestinationId): string =>
  `${serviceKey(service)} ${destinationKey(destination)}`;

/** An entry in a state: without new clients, and in maintenance without those that persistence would bring back. */
export function takenOut(
  { expiresTemplates: _, ...destination }: Destination,
  state: OverrideState,
): Destination {
  return { ...destination, weight: 0, ...(state === 'maintenance' && { expiresTemplates: true }) };
}
