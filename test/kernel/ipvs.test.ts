import { beforeAll, describe, it } from 'vitest';
import { requires } from '../requirements.ts';
import { guestNeeds, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * The data plane that is the kernel's own IPVS, on a kernel that has it. The guest's clock counts
 * instructions, so that connections live as long on a busy machine as on an idle one.
 */

const files = {
  'test/kernel/ipvs-inside.ts': 'does what every data plane does, but for what is named',
  'test/kernel/ipvs-commands-inside.ts': "is one table for our commands and Debian's, whatever becomes of it",
};
const inGuests = suiteInGuests(Object.keys(files), () => (process.env.LONG ? {} : { SHORT: '1' }), {
  series: ['6.12'],
  modules: ['ip_vs'],
  countInstructions: true,
});

describe('Linux 6.12', () => {
  requires(...guestNeeds, 'kernel-6.12')('the ipvs plane', () => {
    beforeAll(() => inGuests.run('6.12'), 2 * suiteTimeoutMs);

    it.each(Object.entries(files))(
      '%s: %s',
      (file) => inGuests.expectPassed('6.12', file, 6),
      suiteTimeoutMs,
    );
  });
});
