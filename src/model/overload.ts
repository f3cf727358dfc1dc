/**
 * When a destination is overloaded: Linux 6.12, net/netfilter/ipvs/ip_vs_conn.c and ip_vs_ctl.c. Connections are
 * active + inactive; persistence templates do not count.
 */
export type Thresholds = { readonly upperThreshold: number; readonly lowerThreshold: number };

/** The count below which an overloaded destination serves again: the lower threshold, else 75 % of the upper. */
export function releaseLevel({ upperThreshold, lowerThreshold }: Thresholds): number {
  return lowerThreshold !== 0 ? lowerThreshold : upperThreshold - Math.floor(upperThreshold / 4);
}

/** The overload flag after one more connection; `total` includes it. */
export function overloadAfterConnect(overloaded: boolean, total: number, thresholds: Thresholds): boolean {
  return total === thresholds.upperThreshold ? true : overloaded;
}

/** The overload flag after one connection less; `total` no longer includes it. */
export function overloadAfterRelease(overloaded: boolean, total: number, thresholds: Thresholds): boolean {
  return total + 1 === releaseLevel(thresholds) ? false : overloaded;
}

/**
 * The overload flag after the destination was added, revived or edited: at the upper threshold or above set, below
 * the release level cleared, between them as it was. An edit that leaves both thresholds as they are changes nothing.
 */
export function overloadAfterEdit(
  overloaded: boolean,
  total: number,
  before: Thresholds,
  after: Thresholds,
): boolean {
  if (before.upperThreshold === after.upperThreshold && before.lowerThreshold === after.lowerThreshold) {
    return overloaded;
  }
  if (after.upperThreshold === 0) return false;
  if (total >= after.upperThreshold) return true;
  return total < releaseLevel(after) ? false : overloaded;
}
