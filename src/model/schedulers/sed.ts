import { expectedDelay, leastPerWeight } from './load.ts';
import { statelessScheduler } from './scheduler.ts';

/** Shortest expected delay (ip_vs_sed.c): the lowest (active + 1) per weight; of equal ones the first in the list. */
export const shortestExpectedDelay = statelessScheduler((destinations) =>
  leastPerWeight(destinations, expectedDelay),
);
