import { afterAll, beforeAll, describe, it } from 'vitest';
import { type Director, openEbpfDirector, openIpvsDirector } from '../oracle/director.ts';
import { randomScenario, type Scenario, shrink } from '../oracle/scenario.ts';
import { compareIn, Difference } from '../oracle/trial.ts';
import { randomNumbers, startOf } from '../packets/random.ts';

/* Runs in a guest, whose kernel has IPVS: oracle.test.ts. */

const scenarios = Number(process.env.ORACLE_SCENARIOS);
const steps = 50;
/** Runs that finding the least scenario with the same failure may take. */
const tries = 80;
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

  it(
    `does the same in ${scenarios} scenarios, step by step`,
    async () => {
      const start = startOf('ORACLE_START');
      for (let run = 0; run < scenarios; run++) {
        const number = (start + run) >>> 0;
        const differs = async (scenario: Scenario): Promise<string | undefined> => {
          try {
            await compareIn(scenario, 1000 + 16 * (number % 3000), directors);
            return undefined;
          } catch (error) {
            if (error instanceof Difference) return error.message;
            throw error;
          }
        };
        const scenario = randomScenario(randomNumbers(number), steps);
        const found = await differs(scenario);
        if (found === undefined) continue;
        // Not by the packets: what the kernel's timers have done by then is chance, and that does not come again.
        if ((await differs(scenario)) === undefined) {
          process.stdout.write(`ORACLE_START=${number}: once, and not again: ${found}\n`);
          continue;
        }
        // Of the least one so far.
        let told = found;
        const fails = async (one: Scenario): Promise<boolean> => {
          const difference = await differs(one);
          told = difference ?? told;
          return difference !== undefined;
        };
        await shrink(scenario, fails, tries);
        throw new Error(`ORACLE_START=${number} ORACLE_SCENARIOS=1: ${told}\n\nat first: ${found}`);
      }
    },
    longMs,
  );
});
