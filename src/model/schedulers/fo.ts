import { type DestinationView, isEligible, statelessScheduler } from './scheduler.ts';

/** Weighted fail over (ip_vs_fo.c): the greatest weight; of equal ones the first in the list. */
export const weightedFailOver = statelessScheduler((destinations) => heaviest(destinations, isEligible));

/** The destination of greatest weight among those that may serve; of equal ones the first in the list. */
export function heaviest(
  destinations: readonly DestinationView[],
  mayServe: (destination: DestinationView) => boolean,
): number | undefined {
  let choice: number | undefined;
  for (const [i, destination] of destinations.entries()) {
    if (!mayServe(destination)) continue;
    if (choice === undefined || destination.weight > destinations[choice]!.weight) choice = i;
  }
  return choice;
}
