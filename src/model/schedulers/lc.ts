import { overhead } from './load.ts';
import { isEligible, statelessScheduler } from './scheduler.ts';

/** Least connections (ip_vs_lc.c): the lowest overhead; of equal ones the first in the list. */
export const leastConnections = statelessScheduler((destinations) => {
  let least: number | undefined;
  for (const [i, destination] of destinations.entries()) {
    if (!isEligible(destination)) continue;
    if (least === undefined || overhead(destination) < overhead(destinations[least]!)) least = i;
  }
  return least;
});
