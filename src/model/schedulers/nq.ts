import { expectedDelay, leastPerWeight } from './load.ts';
import { isEligible, statelessScheduler } from './scheduler.ts';

/** Never queue (ip_vs_nq.c): the first destination without active connections, else shortest expected delay. */
export const neverQueue = statelessScheduler((destinations) => {
  const idle = destinations.findIndex((destination) => isEligible(destination) && destination.active === 0);
  return idle >= 0 ? idle : leastPerWeight(destinations, expectedDelay);
});
