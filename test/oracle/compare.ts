import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection, Observed } from '../../src/model/table.ts';
import type { Director } from './director.ts';
import { listing, type Reading, row, rows } from './listing.ts';

/** Entries whose end is nearer than this are waited out, so that it is the same moment for both. */
const nearMs = 1000;
/**
 * How far the two may be apart in what they say is left of an entry, one of them in whole seconds; and of a template that goes on
 * for the sake of its connections, from when the kernel's timer found it.
 */
const apartMs = { usual: 1500, prolonged: 3600 };
/** Between two looks at entries that are about to end; and how long such an end may take. */
const lookMs = 250;
export const endsMs = 300_000;

/** Two directors did not do the same. */
export class Difference extends Error {}

type Directors = readonly [Director, Director];

/** Throws Difference where values of the two are not the same, or texts line by line. */
export function same(directors: Directors, what: string, first: unknown, second: unknown): void {
  const lines = [first, second].map((value) =>
    (Array.isArray(value) ? value : [value]).map((one) =>
      typeof one === 'string' ? one : (JSON.stringify(one) ?? 'nothing'),
    ),
  );
  const [one, other] = lines as [string[], string[]];
  if (one.join('\n') === other.join('\n')) return;
  const differing = (of: string[], from: string[]) => of.filter((line) => !from.includes(line)).join('\n  ');
  throw new Difference(
    `${what}\n${directors[0].name}:\n  ${differing(one, other)}\n${directors[1].name}:\n  ${differing(other, one)}`,
  );
}

/**
 * Compares every connection, and waits out those that are about to end. Returns those of the second director, the one that tells
 * the time they have left in milliseconds. `hasLongTemplates`: there are templates that go on for the sake of their connections.
 */
export async function compareConnections(
  directors: Directors,
  hasLongTemplates: boolean,
): Promise<readonly Connection[]> {
  for (const deadline = performance.now() + endsMs; ; ) {
    const [first, second] = [await directors[0].connections(), await directors[1].connections()];
    const near = [...first, ...second].map((one) => one.expiresInMs).filter((left) => left < nearMs);
    if (near.length > 0) {
      if (performance.now() > deadline)
        throw new Difference(`entries do not end: ${rows(first)}\n-- ${rows(second)}`);
      await sleep(Math.max(lookMs, Math.min(...near)));
      continue;
    }
    same(directors, 'connections', rows(first), rows(second));
    const left = new Map(first.map((one) => [row(one), one.expiresInMs]));
    for (const one of second) {
      const isProlonged = one.template && hasLongTemplates;
      const most = isProlonged ? apartMs.prolonged : apartMs.usual;
      if (Math.abs(one.expiresInMs - left.get(row(one))!) > most)
        same(directors, `time left of ${row(one)}`, left.get(row(one)), one.expiresInMs);
    }
    return second;
  }
}

/** Compares what is listed, and returns the services as the first director lists them. */
export async function compareListings(
  directors: Directors,
  withCounters: boolean,
): Promise<Observed['services']> {
  let read = await readBoth();
  if (String(listed(read[0])) !== String(listed(read[1]))) {
    // Ours counts an entry whose time is up until its timer has looked at it, ten times a second.
    await sleep(lookMs);
    read = await readBoth();
  }
  same(directors, 'listing', listed(read[0]), listed(read[1]));
  return read[0].services;

  async function readBoth(): Promise<readonly [Reading, Reading]> {
    const look = { counters: withCounters };
    return [await directors[0].read(look), await directors[1].read(look)];
  }

  function listed(reading: Reading): string[] {
    return listing(reading, withCounters);
  }
}
