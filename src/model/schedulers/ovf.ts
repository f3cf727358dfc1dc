import { heaviest } from './fo.ts';
import { isEligible, statelessScheduler } from './scheduler.ts';

/**
 * Weighted overflow (ip_vs_ovf.c): the greatest weight among the destinations with no more active connections than
 * their weight, so each serves weight + 1 of them before the next one is used. UDP is never active and never overflows.
 */
export const weightedOverflow = statelessScheduler((destinations) =>
  heaviest(
    destinations,
    (destination) => isEligible(destination) && destination.active <= destination.weight,
  ),
);
