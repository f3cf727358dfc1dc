import type { DestinationView, Scheduler } from './scheduler.ts';

/** The wheel's constants: `step` (di) is the common divisor of the weights, `top` (mw) the highest rung. */
export type WeightedRoundRobinParameters = { readonly step: number; readonly top: number };

/** The wheel: the place of the last choice (-1: before the first) and the rung (cw) a weight must reach. */
export type WeightedRoundRobinState = WeightedRoundRobinParameters & {
  readonly current: number;
  readonly rung: number;
};

/**
 * di and mw of ip_vs_wrr.c: the greatest common divisor of the weights that are not 0, else 1, and the greatest
 * weight less (di - 1), so that the last rung of a turn is 1. `top` is 0 when no weight is above 0.
 */
export function wrrParameters(
  destinations: readonly Pick<DestinationView, 'weight'>[],
): WeightedRoundRobinParameters {
  const weights = destinations.map(({ weight }) => weight);
  const step = weights.filter((weight) => weight > 0).reduce(greatestCommonDivisor, 0) || 1;
  return { step, top: Math.max(0, ...weights) - (step - 1) };
}

/** Euclid's; 0 is neutral. */
export function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * Weighted round robin (ip_vs_wrr.c): walk the list and take the first destination whose weight reaches the rung; at
 * the end of the list go one step down, below 1 back to the top. Any change of a destination, even one that changes
 * nothing, restarts the walk at the head of the list, on the rung it was (rounded into the new steps).
 */
export const weightedRoundRobin: Scheduler<WeightedRoundRobinState> = {
  create: (destinations) => {
    const parameters = wrrParameters(destinations);
    return { ...parameters, current: -1, rung: parameters.top };
  },

  changed: ({ rung }, destinations) => {
    const parameters = wrrParameters(destinations);
    const { step, top } = parameters;
    const restart = rung > top || rung === 0;
    return { ...parameters, current: -1, rung: restart ? top : step > 1 ? rung - (rung % step) + 1 : rung };
  },

  choose: (state, destinations) => {
    const { step, top, current: last } = state;
    if (top === 0) return { choice: undefined, state };
    let { rung } = state;
    let i = last;
    let lastPass = false;
    let restarted = false;
    let stop: number | undefined;
    for (;;) {
      while (++i < destinations.length) {
        const destination = destinations[i]!;
        if (!destination.overloaded && destination.weight >= rung) {
          return { choice: i, state: { ...state, current: i, rung } };
        }
        if (i === stop) return { choice: undefined, state: { ...state, current: i, rung } };
      }
      i = -1;
      rung -= step;
      if (rung <= 0) {
        rung = top;
        // Every weight was held against the lowest rung already, over the whole list.
        if (lastPass || last === -1) return { choice: undefined, state: { ...state, current: -1, rung } };
        restarted = true;
      }
      lastPass = rung <= step;
      // The lowest rung was first tried only behind `last`: this pass makes up for the places up to it.
      if (lastPass && restarted && last !== -1) stop = last;
    }
  },
};
