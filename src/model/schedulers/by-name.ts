import type { Family } from '../address.ts';
import type { SchedulerName } from '../virtual-service.ts';
import { destinationHashing } from './dh.ts';
import { weightedFailOver } from './fo.ts';
import { localityLeastConnections } from './lblc.ts';
import { replicatedLeastConnections } from './lblcr.ts';
import { leastConnections } from './lc.ts';
import { maglevHashing } from './mh.ts';
import { neverQueue } from './nq.ts';
import { weightedOverflow } from './ovf.ts';
import { roundRobin } from './rr.ts';
import type { DestinationView, Scheduler, SchedulingRequest } from './scheduler.ts';
import { statelessScheduler } from './scheduler.ts';
import { shortestExpectedDelay } from './sed.ts';
import { sourceHashing } from './sh.ts';
import { powerOfTwoChoices } from './twos.ts';
import { weightedLeastConnections } from './wlc.ts';
import { weightedRoundRobin } from './wrr.ts';

/** A scheduler at work for one virtual service; it holds the algorithm's state. */
export type Scheduling = {
  /** After each single addition, edit or deletion of a destination. */
  readonly changed: (destinations: readonly DestinationView[]) => void;
  /** An index into the destinations, or undefined when none may serve. */
  readonly choose: (
    destinations: readonly DestinationView[],
    request: SchedulingRequest,
  ) => number | undefined;
  /** Once a minute. */
  readonly tick: (nowMs: number) => void;
};

type Start = (destinations: readonly DestinationView[], family: Family, mhTableIndex?: number) => Scheduling;

const starters: Record<SchedulerName | 'none', Start> = {
  rr: starter(roundRobin),
  wrr: starter(weightedRoundRobin),
  lc: starter(leastConnections),
  wlc: starter(weightedLeastConnections),
  lblc: starter(localityLeastConnections),
  lblcr: starter(replicatedLeastConnections),
  dh: starter(destinationHashing),
  sh: starter(sourceHashing),
  sed: starter(shortestExpectedDelay),
  nq: starter(neverQueue),
  fo: starter(weightedFailOver),
  ovf: starter(weightedOverflow),
  mh: (destinations, family, tableIndex) => starter(maglevHashing(tableIndex))(destinations, family),
  twos: starter(powerOfTwoChoices),
  none: starter(statelessScheduler(() => undefined)),
};

/** Binds a scheduler to a virtual service; `none` never chooses. `mhTableIndex` says how large mh's table is (mhTableSize). */
export function startScheduler(
  name: SchedulerName | 'none',
  destinations: readonly DestinationView[],
  family: Family,
  mhTableIndex?: number,
): Scheduling {
  return starters[name](destinations, family, mhTableIndex);
}

function starter<State>(scheduler: Scheduler<State>): Start {
  return (initial, family) => {
    let state = scheduler.create(initial, family);
    return {
      changed: (destinations) => {
        state = scheduler.changed(state, destinations);
      },
      choose: (destinations, request) => {
        const chosen = scheduler.choose(state, destinations, request);
        state = chosen.state;
        return chosen.choice;
      },
      tick: (nowMs) => {
        state = scheduler.tick?.(state, nowMs) ?? state;
      },
    };
  };
}
