import { destinationKey } from '../service-id.ts';
import { isEligible, type Scheduler } from './scheduler.ts';

/** The list as it was when it last changed, and where in it the last choice stands (-1: before the first). */
export type RoundRobinState = { readonly keys: readonly string[]; readonly last: number };

/**
 * Round robin (ip_vs_rr.c): the next eligible destination behind the last choice, once around the list. When the
 * last choice is deleted the place before it takes over, so nobody's turn is skipped.
 */
export const roundRobin: Scheduler<RoundRobinState> = {
  create: (destinations) => ({ keys: destinations.map(destinationKey), last: -1 }),

  changed: (state, destinations) => {
    const keys = destinations.map(destinationKey);
    for (let i = state.last; i >= 0; i--) {
      const last = keys.indexOf(state.keys[i]!);
      if (last >= 0) return { keys, last };
    }
    return { keys, last: -1 };
  },

  choose: (state, destinations) => {
    for (let step = 1; step <= destinations.length; step++) {
      const choice = (state.last + step) % destinations.length;
      if (isEligible(destinations[choice]!)) return { choice, state: { ...state, last: choice } };
    }
    return { choice: undefined, state };
  },
};
