import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Difference } from '../oracle/compare.ts';
import { type Director, openEbpfDirector, openIpvsDirector } from '../oracle/director.ts';
import { randomScenario, type Scenario, type ScenarioKind, shrink } from '../oracle/scenario.ts';
import { compareIn } from '../oracle/trial.ts';
import { randomNumbers, startOf } from '../packets/random.ts';

/* Runs in a guest, whose kernel has IPVS: oracle.test.ts. */

const scenarios = Number(process.env.ORACLE_SCENARIOS);
const kinds: readonly { readonly kind: ScenarioKind; readonly count: number }[] = [
  { kind: 'usual', count: scenarios },
  { kind: 'sctp', count: Math.ceil(scenarios / 10) },
];
const steps = 50;
/** Runs that finding the least scenario with the same failure may take. */
const tries = 80;
/** Differences after which there are no more scenarios. */
const mostFound = 3;
/** Until IPVS has forgotten the real servers of the run before. */
const forgottenMs = 250_000;
/** Guest time, which goes by at no cost while nothing happens. */
const longMs = 2 ** 31 - 1;

describe('the ebpf plane beside the IPVS of the kernel', () => {
  let directors: readonly [Director, Director];
  beforeAll(async () => {
    directors = [await openIpvsDirector(), await openEbpfDirector()];
  }, longMs);
  afterAll(async () => {
    for (const director of directors ?? []) await director.close();
  });

  it.each(kinds)(
    'does the same in $count scenarios, step by step: $kind',
    async ({ kind, count }) => {
      const start = startOf('ORACLE_START');
      const found: string[] = [];
      await sleep(forgottenMs);
      for (let run = 0; run < count && found.length < mostFound; run++) {
        const number = (start + run) >>> 0;
        const difference = await differenceIn(number, kind);
        if (difference) found.push(`ORACLE_START=${number} ORACLE_SCENARIOS=1, ${kind}: ${difference}`);
      }
      // As the message: what is expected of a list, or of a long text, is cut short.
      expect(found.length, found.join('\n\n')).toBe(0);
    },
    longMs,
  );

  /** What differs in the scenario of a number, and in the least one like it that was found. */
  async function differenceIn(number: number, kind: ScenarioKind): Promise<string | undefined> {
    const differs = async (scenario: Scenario): Promise<string | undefined> => {
      try {
        await compareIn(scenario, number, directors);
        return undefined;
      } catch (error) {
        if (error instanceof Difference) return error.message;
        throw error;
      }
    };
    const scenario = randomScenario(randomNumbers(number), steps, kind);
    const atFirst = await differs(scenario);
    if (!atFirst) return undefined;
    let told: string | undefined;
    const fails = async (one: Scenario): Promise<boolean> => {
      await sleep(forgottenMs);
      const difference = await differs(one);
      told = difference ?? told;
      return difference !== undefined;
    };
    if (await fails(scenario)) await shrink(scenario, fails, tries);
    return `${told ?? 'once, and not again'}\n\nat first: ${atFirst}`;
  }
});
