import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Director, openEbpfDirector, openIpvsDirector } from '../oracle/director.ts';
import { distance, spread } from '../oracle/lots.ts';
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
  });
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
        const least = await shrink(scenario, async (one) => (await differs(one)) !== undefined, tries);
        throw new Error(
          `ORACLE_START=${number} ORACLE_SCENARIOS=1: ${await differs(least)}\n\nat first: ${found}`,
        );
      }
    },
    longMs,
  );

  it(
    'draws lots alike: twos',
    async () => {
      const [one, other] = [
        await spread(directors[0], 'twos', [1, 2, 3, 4], 600),
        await spread(directors[1], 'twos', [1, 2, 3, 4], 600),
      ];
      expect([one.refused, other.refused]).toEqual([0, 0]);
      // With three degrees of freedom chance is beyond this once in a million times.
      expect(distance(one.taken, other.taken), `${one.taken} and ${other.taken}`).toBeLessThan(30.7);
    },
    longMs,
  );

  it(
    'refuses as many: drop_packet',
    async () => {
      for (const director of directors)
        await director.apply([{ kind: 'set-sysctls', sysctls: { drop_packet: 3, am_droprate: 7 } }]);
      // Defences are decided upon once a second.
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const [one, other] = [
        await spread(directors[0], 'rr', [1, 1], 300),
        await spread(directors[1], 'rr', [1, 1], 300),
      ];
      for (const director of directors)
        await director.apply([{ kind: 'set-sysctls', sysctls: { drop_packet: 0, am_droprate: 10 } }]);
      expect(one.refused).toBeGreaterThan(300 / 7 - 2);
      expect(Math.abs(one.refused - other.refused)).toBeLessThan(3);
    },
    longMs,
  );
});
