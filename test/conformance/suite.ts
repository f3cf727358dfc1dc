import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomNumbers, startOf } from '../packets/random.ts';
import { shown } from './operations.ts';
import type { Rig, Subject } from './rig.ts';
import { type RuleName, rules } from './rules.ts';
import { type Setup, startRun } from './scheduling-run.ts';

const schedulers: readonly (Omit<Setup, 'family'> & { readonly name: string })[] = [
  ...(['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'sed', 'nq', 'dh', 'sh', 'mh', 'fo', 'ovf'] as const).map(
    (scheduler) => ({ scheduler, flags: {}, name: scheduler }),
  ),
  { scheduler: 'sh', flags: { flag1: true }, name: 'sh, sh-fallback' },
  { scheduler: 'sh', flags: { flag2: true }, name: 'sh, sh-port' },
  { scheduler: 'sh', flags: { flag1: true, flag2: true }, name: 'sh, sh-fallback, sh-port' },
  { scheduler: 'mh', flags: { flag1: true }, name: 'mh, mh-fallback' },
  { scheduler: 'mh', flags: { flag1: true, flag2: true }, name: 'mh, mh-fallback, mh-port' },
];

const families = [4, 6] as const;

/** Declares the tests of one plane; to be called within a block of them. */
export function conformance({ deviations, steps, start }: Subject): void {
  let rig: Rig;
  beforeAll(async () => {
    rig = await start();
  });
  afterAll(() => rig?.close());

  describe.each(families)('IPv%i', (family) => {
    it.each(schedulers)(`$name: ${steps} steps, choice by choice`, async (scheduler) => {
      const from = startOf('SCHEDULER_START');
      const label = `SCHEDULER_START=${from}, ${scheduler.name}, IPv${family}`;
      const run = await startRun(rig, { ...scheduler, family }, randomNumbers(from), label);
      for (let step = 0; step < steps; step++) await run.step();
      const found = (await shown(rig, run.id)).destinations.map((one) => [
        one.destination.port,
        one.activeConnections,
        one.inactiveConnections,
      ]);
      const wanted = run.list
        .map(({ settings, active, inactive }) => [settings.port, active, inactive])
        .reverse();
      expect(found, label).toEqual(wanted);
      // How many find somebody is up to the dice, above all for ovf; that many were decided is not.
      expect(run.chosen() + run.refused(), label).toBeGreaterThan(steps / 4);
      if (steps >= 100) expect(run.chosen(), label).toBeGreaterThan(steps / 20);
      await run.end();
    });

    for (const name of Object.keys(rules) as RuleName[]) {
      const reason = deviations[name];
      const check = rules[name];
      if (reason === undefined) it(name, () => check(rig, family));
      else
        it(`does otherwise than "${name}": ${reason}`, async () => {
          // A deviation that is none any more has to leave the list.
          await expect(check(rig, family)).rejects.toThrow();
        });
    }
  });
}
