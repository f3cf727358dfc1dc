import type { OutcomesOf } from '../checks/check.ts';
import type { OwnController } from '../control/controller.ts';
import { noOutcomes, type Outcomes, outcomesBetween } from '../model/outcome.ts';
import { memberKey } from '../model/override.ts';

/** Who asks within this time after another gets the same answer. */
const freshMs = 250;
/** Looks that are remembered for each time that is asked for, spread over it. */
const mostLooks = 16;

type Look = { readonly atMs: number; readonly counts: ReadonlyMap<string, Outcomes> };

/**
 * Remembers what the data plane has said of the connections of clients, for passive checks. It looks when somebody asks; `nowMs`
 * is a steady clock.
 */
export function watchClients(
  controller: () => Pick<OwnController, 'outcomes'>,
  nowMs: () => number,
): OutcomesOf {
  let looking: Promise<Look> | undefined;
  /** By the time that is asked for, the oldest first. */
  const looks = new Map<number, Look[]>();

  async function look(): Promise<Look> {
    const found = (await controller().outcomes?.()) ?? [];
    return {
      atMs: nowMs(),
      counts: new Map(found.map((one) => [memberKey(one.service, one.destination), one])),
    };
  }

  async function lookNow(): Promise<Look> {
    const last = await looking?.catch(() => undefined);
    if (last && nowMs() - last.atMs < freshMs) return last;
    looking = look();
    return await looking;
  }

  return async ({ service, realServer }, withinMs) => {
    if (!controller().outcomes) return undefined;
    const now = await lookNow();
    const known = looks.get(withinMs) ?? [];
    looks.set(withinMs, known);
    const last = known.at(-1);
    if (!last || now.atMs - last.atMs >= withinMs / (mostLooks / 2)) known.push(now);
    while (known.length > 2 && now.atMs - known[1]!.atMs >= withinMs) known.shift();
    const key = memberKey(service, realServer);
    return outcomesBetween(known[0]!.counts.get(key) ?? noOutcomes, now.counts.get(key) ?? noOutcomes);
  };
}
