import { beforeAll, describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { earlierBuild } from '../takeover/earlier-build.ts';
import { guestNeeds, series, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * Programs are swapped under live connections on the kernels people run: swap-inside.ts says how. 6.1 has no tcx links:
 * there the filters of clsact are replaced.
 */

const file = 'test/kernel/swap-inside.ts';
const inGuest = suiteInGuests([file], () => ({ EARLIER: earlierBuild() }));

describe.each(series)('Linux %s', (name) => {
  requires(
    ...guestNeeds,
    'clang-16',
    `kernel-${name}`,
  )('a swap', () => {
    beforeAll(() => {
      earlierBuild();
    }, 600_000);

    it(
      'loses no connection and no byte, and counts go on',
      async () => {
        const run = await inGuest(name);
        const result = run.results.find((one) => one.file === file);
        expect(result, run.said).toBeDefined();
        expect(result!.failed.map((test) => `${test.name}: ${test.reason}`)).toEqual([]);
        expect(result!.skipped).toEqual([]);
        expect(result!.passed).toBeGreaterThan(4);
      },
      2 * suiteTimeoutMs,
    );
  });
});
