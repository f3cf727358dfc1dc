import { beforeAll, describe, it } from 'vitest';
import { schedulerNames } from '../../src/model/virtual-service.ts';
import { startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { guestNeeds, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * The ebpf plane and the kernel's own IPVS, side by side in one kernel: random scenarios with the same packets, and every
 * difference counts (test/oracle). ORACLE_START says with which random numbers the first scenario is made, which a failure
 * prints; ORACLE_SCENARIOS how many there are. Without them the same 200 every time, and with LONG=1 2,000 others. Time goes
 * by instructions, so that waiting takes hardly any; two guests at a time share the scenarios, and each does a hundred at most,
 * so that others who wait for a guest get their turn.
 */

const file = 'test/kernel/oracle-inside.ts';
const lots = 'test/kernel/oracle-lots-inside.ts';
const long = process.env.LONG !== undefined;
const start = long ? startOf('ORACLE_START') : Number(process.env.ORACLE_START ?? 9);
const scenarios = Number(process.env.ORACLE_SCENARIOS ?? (long ? 2000 : 200));
const mostInOne = 100;
const places = ['6.12', '6.1'] as const;

// All there are from the beginning: the guest's clock goes on by itself while it waits for a module.
const modules = ['ip_vs', ...schedulerNames.map((name) => `ip_vs_${name}`), 'ip_vs_pe_sip', 'nf_tables'];
const parts = Math.max(places.length, Math.ceil(scenarios / mostInOne));
const begin = (part: number): number => Math.ceil((part * scenarios) / parts);
const guests = Array.from({ length: parts }, (_, part) => {
  const first = start + begin(part);
  const count = begin(part + 1) - begin(part);
  const place = places[part % places.length]!;
  const files = part === 0 ? [file, lots] : [file];
  const environment = { ORACLE_START: String(first), ORACLE_SCENARIOS: String(count) };
  const settings = { series: ['6.12'], modules, countInstructions: true, place } as const;
  return {
    name: `${count} from ORACLE_START=${first}`,
    count,
    place,
    files,
    inGuests: suiteInGuests(files, () => environment, settings),
  };
}).filter(({ count }) => count > 0);

describe('Linux 6.12', () => {
  requires(
    ...guestNeeds,
    'kernel-6.12',
    'nft',
  )('the ebpf plane beside IPVS', () => {
    beforeAll(
      async () => {
        const inTurn = async (place: (typeof places)[number]) => {
          for (const { inGuests } of guests.filter((one) => one.place === place)) await inGuests.run('6.12');
        };
        await Promise.all(places.map(inTurn));
      },
      2 * parts * suiteTimeoutMs,
    );

    it.each(guests)(
      'does the same in random scenarios, $name',
      async ({ files, inGuests }) => {
        for (const one of files) await inGuests.expectPassed('6.12', one);
      },
      2 * suiteTimeoutMs,
    );
  });
});
