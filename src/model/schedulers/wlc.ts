import { leastPerWeight, overhead } from './load.ts';
import { statelessScheduler } from './scheduler.ts';

/** Weighted least connections (ip_vs_wlc.c): the lowest overhead per weight; of equal ones the first in the list. */
export const weightedLeastConnections = statelessScheduler((destinations) =>
  leastPerWeight(destinations, overhead),
);
