import type { Address, Family } from '../address.ts';
import type { DestinationId, SchedulerFlags } from '../virtual-service.ts';

/** What a scheduler sees of a destination. Lists of them are in the kernel's order: newest first. */
export type DestinationView = DestinationId & {
  readonly weight: number;
  /** The weight, or while that is 0 the last one that was not (0 if there never was one since it was added). */
  readonly lastWeight: number;
  /** Active connections. */
  readonly active: number;
  /** Active and inactive connections. */
  readonly total: number;
  /** The upper threshold was reached. */
  readonly overloaded: boolean;
  /** False from the moment the destination is deleted. */
  readonly available: boolean;
};

/** The first packet of a connection. */
export type Packet = {
  readonly source: Address;
  readonly sourcePort: number;
  readonly destination: Address;
  readonly destinationPort: number;
  /** The packet was found inside an ICMP error, so it runs from the service to the client. */
  readonly inverse: boolean;
};

/** What one choice depends on besides destinations and state. */
export type SchedulingRequest = {
  readonly packet: Packet;
  /** The service's scheduler flags. */
  readonly flags: SchedulerFlags;
  /** Any steady clock, milliseconds. */
  readonly nowMs: number;
  /** A uniformly random integer in [0, bound). */
  readonly random: (bound: number) => number;
};

/** A choice is an index into the list of destinations; undefined when no destination may serve. */
export type Choice<State> = { readonly choice: number | undefined; readonly state: State };

/**
 * A scheduling algorithm. `changed` is called once after each single addition, edit or deletion of a destination,
 * with the list as it is then; `choose` always with the list of the last `create` or `changed`, in which only
 * weights' companions (counts, overload) may have moved. A state that was passed in is consumed: use only the one
 * that comes back.
 */
export type Scheduler<State> = {
  readonly create: (destinations: readonly DestinationView[], family: Family) => State;
  readonly changed: (state: State, destinations: readonly DestinationView[]) => State;
  readonly choose: (
    state: State,
    destinations: readonly DestinationView[],
    request: SchedulingRequest,
  ) => Choice<State>;
  /** What the algorithm does once a minute. */
  readonly tick?: (state: State, nowMs: number) => State;
};

/** A scheduler that remembers nothing: its choice is a function of the destinations and the packet. */
export function statelessScheduler(
  choose: (destinations: readonly DestinationView[], request: SchedulingRequest) => number | undefined,
): Scheduler<null> {
  return {
    create: () => null,
    changed: () => null,
    choose: (state, destinations, request) => ({ choice: choose(destinations, request), state }),
  };
}

/** Whether a destination may get new connections: weight above 0 and not overloaded. */
export function isEligible(destination: DestinationView): boolean {
  return destination.weight > 0 && !destination.overloaded;
}

/** The `lastWeight` of a destination after an addition (`before` undefined) or an edit. */
export function lastWeightAfter(before: number | undefined, weight: number): number {
  return before === undefined || weight !== 0 ? weight : before;
}
