import type { Address } from '../model/address.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import type { Counters, Observed } from '../model/table.ts';
import type { Totals } from '../model/totals.ts';

/*
 * What travels between the daemon and its clients: the model's own types as JSON. 64-bit counters are decimal strings,
 * maps are lists of pairs.
 */

const amounts = ['connections', 'packetsIn', 'packetsOut', 'bytesIn', 'bytesOut'] as const;

/** JSON text of an answer. */
export function toWire(value: unknown): string {
  return JSON.stringify(value, (_key, one) =>
    typeof one === 'bigint' ? one.toString() : one instanceof Map ? [...one] : one,
  );
}

/** The table as it was before `toWire`. */
export function observedFromWire(value: Observed): Observed {
  const whole = <T extends { readonly counters: Counters; readonly rates: Counters }>(one: T): T => ({
    ...one,
    counters: countersFromWire(one.counters),
    rates: countersFromWire(one.rates),
  });
  return {
    ...value,
    services: value.services.map((service) => ({
      ...whole(service),
      destinations: service.destinations.map(whole),
    })),
  };
}

/** The totals as they were before `toWire`. */
export const totalsFromWire = ({ counters, rates, perCpu, ticksPerSecond }: Totals): Totals => ({
  counters: countersFromWire(counters),
  rates: countersFromWire(rates),
  perCpu: perCpu.map(countersFromWire),
  ticksPerSecond,
});

/** The outlook as it was before `toWire`. */
export function outlookFromWire(
  value: Omit<Outlook, 'paths'> & { readonly paths: [Address, Path][] },
): Outlook {
  return { ...value, paths: new Map(value.paths) };
}

function countersFromWire(counters: Counters): Counters {
  return Object.fromEntries(amounts.map((name) => [name, BigInt(counters[name])])) as Counters;
}
