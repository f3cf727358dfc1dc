import { beforeAll, describe, it } from 'vitest';
import { requires } from '../requirements.ts';
import { earlierBuild } from '../takeover/earlier-build.ts';
import { guestNeeds, series, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * Programs are swapped under live connections on the kernels people run: swap-inside.ts says how. 6.1 has no tcx links:
 * there the filters of clsact are replaced.
 */

const file = 'test/kernel/swap-inside.ts';
const inGuests = suiteInGuests([file], () => ({ EARLIER: earlierBuild() }));

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
      () => inGuests.expectPassed(name, file, 5),
      2 * suiteTimeoutMs,
    );
  });
});
