import { beforeAll, describe, expect, it } from 'vitest';
import { startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { guestNeeds, type SuiteRun, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * The ebpf plane and the kernel's own IPVS, side by side in one kernel: random scenarios with the same packets, and every
 * difference counts (test/oracle). ORACLE_START says with which random numbers the first scenario is made, which a failure
 * prints; ORACLE_SCENARIOS how many there are. Without them the same 20 every time, and with LONG=1 2,000 others. Time goes by
 * instructions, so that waiting takes none.
 */

const file = 'test/kernel/oracle-inside.ts';
const long = process.env.LONG !== undefined;
const start = long ? startOf('ORACLE_START') : Number(process.env.ORACLE_START ?? 9);
const timeoutMs = long ? 12 * suiteTimeoutMs : suiteTimeoutMs;
const inGuest = suiteInGuests(
  [file],
  () => ({
    ORACLE_START: String(start),
    ORACLE_SCENARIOS: process.env.ORACLE_SCENARIOS ?? (long ? '2000' : '20'),
  }),
  { series: ['6.12'], modules: ['ip_vs'], countInstructions: true, timeoutMs },
);

describe('Linux 6.12', () => {
  requires(...guestNeeds, 'kernel-6.12')(`the ebpf plane beside IPVS, ORACLE_START=${start}`, () => {
    let run: SuiteRun;
    beforeAll(async () => {
      run = await inGuest('6.12');
    }, 2 * timeoutMs);

    it('does the same in random scenarios', () => {
      const result = run.results.find((one) => one.file === file);
      expect(result, run.said).toBeDefined();
      expect(result!.failed.map((test) => `${test.name}: ${test.reason}`)).toEqual([]);
      expect(result!.skipped).toEqual([]);
      expect(result!.passed).toBeGreaterThan(1);
    });
  });
});
