import type { Counters, Rates } from '../../model/table.ts';

const fields = ['connections', 'packetsIn', 'packetsOut', 'bytesIn', 'bytesOut'] as const;

type Amounts = Record<(typeof fields)[number], number>;

/** Counters of a service or destination and the rates estimated from them. */
export type Traffic = {
  readonly counters: Amounts;
  /** The counters at the last estimation. */
  readonly sampled: Amounts;
  readonly rates: Amounts;
};

/** How often rates are estimated (net/netfilter/ipvs/ip_vs_est.c). */
export const estimationMs = 2000;

/** Of what has just come into being: counters and rates of 0. */
export function newTraffic(): Traffic {
  return { counters: noAmounts(), sampled: noAmounts(), rates: noAmounts() };
}

/** Sets counters and rates to 0. */
export function zeroTraffic(traffic: Traffic): void {
  for (const amounts of [traffic.counters, traffic.sampled, traffic.rates])
    Object.assign(amounts, noAmounts());
}

/** Moves the rates by a quarter of the way to what the last two seconds had, as ip_vs_est.c does. */
export function estimateRates({ counters, sampled, rates }: Traffic): void {
  for (const field of fields) {
    const perSecond = (counters[field] - sampled[field]) / (estimationMs / 1000);
    rates[field] += (perSecond - rates[field]) / 4;
    sampled[field] = counters[field];
  }
}

/** The amounts as a table shows them. */
export function shownTraffic({ counters, rates }: Traffic): { counters: Counters; rates: Rates } {
  return { counters: whole(counters), rates: whole(rates) };
}

function whole(amounts: Amounts): Counters {
  return {
    connections: BigInt(Math.round(amounts.connections)),
    packetsIn: BigInt(Math.round(amounts.packetsIn)),
    packetsOut: BigInt(Math.round(amounts.packetsOut)),
    bytesIn: BigInt(Math.round(amounts.bytesIn)),
    bytesOut: BigInt(Math.round(amounts.bytesOut)),
  };
}

function noAmounts(): Amounts {
  return { connections: 0, packetsIn: 0, packetsOut: 0, bytesIn: 0, bytesOut: 0 };
}
