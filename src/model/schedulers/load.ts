import { type DestinationView, isEligible } from './scheduler.ts';

/** The kernel's estimate of the work a destination has: an active connection is worth 256 (include/net/ip_vs.h). */
export function overhead(destination: DestinationView): number {
  return destination.active * 256 + destination.total;
}

/** The expected delay of the next connection: active connections and the new one (ip_vs_sed.c, ip_vs_nq.c). */
export function expectedDelay(destination: DestinationView): number {
  return destination.active + 1;
}

/** Whether cost1/weight1 > cost2/weight2, exactly and without dividing: cost1 x weight2 > cost2 x weight1. */
export function isDearer(cost1: number, weight1: number, cost2: number, weight2: number): boolean {
  const left = cost1 * weight2;
  const right = cost2 * weight1;
  if (left <= Number.MAX_SAFE_INTEGER && right <= Number.MAX_SAFE_INTEGER) return left > right;
  return BigInt(cost1) * BigInt(weight2) > BigInt(cost2) * BigInt(weight1);
}

/** The eligible destination with the lowest cost per weight; of equal ones the first in the list. */
export function leastPerWeight(
  destinations: readonly DestinationView[],
  cost: (destination: DestinationView) => number,
): number | undefined {
  let least: number | undefined;
  for (const [i, destination] of destinations.entries()) {
    if (!isEligible(destination)) continue;
    const best = least === undefined ? undefined : destinations[least]!;
    if (!best || isDearer(cost(best), best.weight, cost(destination), destination.weight)) least = i;
  }
  return least;
}
