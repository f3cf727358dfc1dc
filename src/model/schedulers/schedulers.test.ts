import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressFromBytes, parseAddress } from '../address.ts';
import { schedulerNames } from '../virtual-service.ts';
import { startScheduler } from './by-name.ts';
import { dhTable } from './dh.ts';
import { hash32 } from './hash.ts';
import { isDearer } from './load.ts';
import {
  createLocalityTable,
  expireLocality,
  findLocality,
  localityLimits,
  rememberLocality,
} from './locality.ts';
import { mhTable, mhTableIndexes, mhTableSize } from './mh.ts';
import type { DestinationView, SchedulingRequest } from './scheduler.ts';
import { shTable } from './sh.ts';
import { wrrParameters } from './wrr.ts';

const view = (host: number, weight: number, rest: Partial<DestinationView> = {}): DestinationView => ({
  address: addressFromBytes(Uint8Array.of(10, 0, host >> 8, host & 255)),
  port: 80,
  weight,
  lastWeight: weight,
  active: 0,
  total: 0,
  overloaded: false,
  available: true,
  ...rest,
});

const request = (client: number, rest: Partial<SchedulingRequest> = {}): SchedulingRequest => ({
  packet: {
    source: addressFromBytes(Uint8Array.of(192, client >>> 16, client >>> 8, client)),
    sourcePort: client & 0xffff,
    destination: addressFromBytes(Uint8Array.of(203, client >>> 16, client >>> 8, client)),
    destinationPort: 80,
    inverse: false,
  },
  flags: { flag1: false, flag2: false, flag3: false },
  nowMs: 0,
  random: (bound) => Math.floor((client * 7919) % bound),
  ...rest,
});

const weights = fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 8 });
const client = fc.integer({ min: 0, max: 0xffffff });

const list: fc.Arbitrary<DestinationView[]> = fc
  .array(
    fc.record({
      weight: fc.integer({ min: 0, max: 5 }),
      active: fc.integer({ min: 0, max: 8 }),
      inactive: fc.integer({ min: 0, max: 600 }),
      overloaded: fc.boolean(),
    }),
    { maxLength: 6 },
  )
  .map((rows) =>
    rows.map(({ inactive, active, ...row }, i) =>
      view(i, row.weight, { ...row, active, total: active + inactive }),
    ),
  );

describe('every scheduler', () => {
  it.each(schedulerNames)('%s never chooses a destination without weight or an overloaded one', (name) => {
    fc.assert(
      fc.property(list, fc.array(client, { maxLength: 20 }), fc.boolean(), (destinations, clients, flag) => {
        const scheduling = startScheduler(name, destinations, 4);
        for (const one of clients) {
          const flags = { flag1: flag, flag2: !flag, flag3: false };
          const choice = scheduling.choose(destinations, request(one, { flags }));
          if (choice === undefined) continue;
          expect(destinations[choice]!.weight).toBeGreaterThan(0);
          expect(destinations[choice]!.overloaded).toBe(false);
        }
      }),
    );
  });

  const searching = schedulerNames.filter((name) => !['dh', 'sh', 'mh', 'ovf'].includes(name));
  it.each(searching)('%s finds one whenever there is one', (name) => {
    fc.assert(
      fc.property(list, fc.array(client, { minLength: 1, maxLength: 20 }), (destinations, clients) => {
        const possible = destinations.some(({ weight, overloaded }) => weight > 0 && !overloaded);
        const scheduling = startScheduler(name, destinations, 4);
        for (const one of clients) {
          expect(scheduling.choose(destinations, request(one)) !== undefined).toBe(possible);
        }
      }),
    );
  });

  it.each(['dh', 'sh', 'mh'] as const)('%s chooses by the packet alone', (name) => {
    fc.assert(
      fc.property(list, fc.array(client, { minLength: 1, maxLength: 20 }), (destinations, clients) => {
        const choices = (order: readonly number[]) => {
          const scheduling = startScheduler(name, destinations, 4);
          return new Map(order.map((one) => [one, scheduling.choose(destinations, request(one))]));
        };
        expect(choices(clients.toReversed())).toEqual(new Map([...choices(clients)].reverse()));
      }),
    );
  });

  it('none chooses nobody', () => {
    expect(startScheduler('none', [view(1, 1)], 4).choose([view(1, 1)], request(1))).toBeUndefined();
  });
});

describe('round robin', () => {
  it('serves everybody with weight once a turn', () => {
    fc.assert(
      fc.property(weights, (ws) => {
        const destinations = ws.map((weight, i) => view(i, weight));
        const scheduling = startScheduler('rr', destinations, 4);
        const serving = [...ws.keys()].filter((i) => ws[i]! > 0);
        for (let turn = 0; turn < 3; turn++) {
          expect(serving.map(() => scheduling.choose(destinations, request(0)))).toEqual(serving);
        }
      }),
    );
  });
});

describe('weighted round robin', () => {
  it('serves everybody exactly by weight in each turn', () => {
    fc.assert(
      fc.property(weights, (ws) => {
        const destinations = ws.map((weight, i) => view(i, weight));
        const { step } = wrrParameters(destinations);
        const scheduling = startScheduler('wrr', destinations, 4);
        for (let turn = 0; turn < 3; turn++) {
          const served = ws.map(() => 0);
          for (let n = 0; n < ws.reduce((a, b) => a + b, 0) / step; n++) {
            served[scheduling.choose(destinations, request(0))!]!++;
          }
          expect(served).toEqual(ws.map((weight) => weight / step));
        }
      }),
    );
  });

  // ip_vs_wrr.c: di = gcd, mw = greatest weight - (di - 1).
  it.each([
    [[4, 8, 2, 0], { step: 2, top: 7 }],
    [[3, 2, 1], { step: 1, top: 3 }],
    [[5], { step: 5, top: 1 }],
    [[0, 0], { step: 1, top: 0 }],
    [[], { step: 1, top: 0 }],
  ])('turns the wheel of %j by %j', (ws, parameters) => {
    expect(wrrParameters(ws.map((weight) => ({ weight })))).toEqual(parameters);
  });
});

describe('comparison of loads', () => {
  it('counts an active connection 257 inactive ones', () => {
    // Linux 6.12 (ip_vs_lc.ko): active << 8 plus the total, which has the active ones in it again.
    const lc = (inactive: number) => {
      const destinations = [view(1, 1, { active: 1, total: 1 }), view(2, 1, { total: inactive })];
      return ['lc' as const, 'wlc' as const].map((name) =>
        startScheduler(name, destinations, 4).choose(destinations, request(0)),
      );
    };
    expect(lc(256)).toEqual([1, 1]);
    expect(lc(257)).toEqual([0, 0]);
  });

  it('is exact where numbers are not', () => {
    const integer = fc.integer({ min: 0, max: 2 ** 40 });
    fc.assert(
      fc.property(integer, integer, integer, integer, (c1, w1, c2, w2) => {
        expect(isDearer(c1, w1, c2, w2)).toBe(BigInt(c1) * BigInt(w2) > BigInt(c2) * BigInt(w1));
      }),
    );
    expect(isDearer(2 ** 53, 2 ** 31, 2 ** 53 - 1, 2 ** 31)).toBe(true);
  });
});

describe('twos', () => {
  const loaded = [view(1, 1, { total: 9 }), view(2, 2, { total: 2 }), view(3, 1, { total: 9 })];
  const choose = (first: number, second: number) => {
    const draws = [first, second];
    const bounds: number[] = [];
    const random = (bound: number) => {
      bounds.push(bound);
      return draws[bounds.length - 1]!;
    };
    const choice = startScheduler('twos', loaded, 4).choose(loaded, request(0, { random }));
    expect(bounds).toEqual([5, 5]);
    return choice;
  };

  // ip_vs_twos.c: weights 1 2 1, so draws 0 and 1 are the first, 2 and 3 the second, 4 the third destination.
  it.each([
    [0, 1, 0],
    [0, 2, 1],
    [3, 4, 1],
    [4, 3, 1],
    [4, 0, 2],
    [1, 4, 0],
  ])('draws %i and %i: destination %i', (first, second, choice) => {
    expect(choose(first, second)).toBe(choice);
  });
});

describe('hash tables', () => {
  it('multiplies by the golden ratio', () => {
    // include/linux/hash.h: GOLDEN_RATIO_32 is 0x61C88647, and -1 times it is 0x9E3779B9.
    expect(hash32(0x0a000001, 8)).toBe(Number(((0x0a000001n * 0x61c88647n) & 0xffffffffn) >> 24n));
    expect(hash32(1, 8)).toBe(0x61);
    expect(hash32(0xffffffff, 8)).toBe(0x9e);
  });

  it('sh gives each destination buckets by weight, at least one', () => {
    expect(shTable([{ weight: 2 }, { weight: 0 }, { weight: 3 }]).slice(0, 8)).toEqual([
      0, 0, 1, 2, 2, 2, 0, 0,
    ]);
    expect(shTable([{ weight: 1000 }, { weight: 1 }])).toEqual(new Array(256).fill(0));
    expect(shTable([])).toEqual(new Array(256).fill(-1));
  });

  it('dh gives each destination one bucket after the other', () => {
    expect(dhTable([1, 2, 3]).slice(0, 7)).toEqual([0, 1, 2, 0, 1, 2, 0]);
    expect(dhTable([])).toEqual(new Array(256).fill(-1));
  });
});

describe('Maglev', () => {
  const shares = (table: readonly number[], count: number) =>
    Array.from({ length: count }, (_, i) => table.filter((owner) => owner === i).length);

  it('shares all buckets by last weight', () => {
    const small = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(small, (ws) => {
        const destinations = ws.map((weight, i) => view(i, 0, { lastWeight: weight }));
        const sum = ws.reduce((a, b) => a + b, 0);
        shares(mhTable(destinations, 4), ws.length).forEach((share, i) => {
          // Whole turns are exact; only the last one is cut off.
          expect(Math.abs(share - (mhTableSize() * ws[i]!) / sum)).toBeLessThanOrEqual(ws[i]!);
        });
      }),
      { numRuns: 30 },
    );
  });

  it('moves few buckets when one of many destinations goes', () => {
    for (const gone of [0, 7, 19]) {
      const before = Array.from({ length: 20 }, (_, i) => view(i, 1));
      const after = before.filter((_, i) => i !== gone);
      const owners = (destinations: DestinationView[]) =>
        mhTable(destinations, 4).map((owner) => destinations[owner]!.address);
      const now = owners(after);
      const was = owners(before);
      const own = was.filter((address) => address === before[gone]!.address).length;
      const moved = was.filter((address, bucket) => address !== now[bucket]).length;
      // Eisenbud et al. (NSDI 2016, 5.3) measured a few per cent besides the buckets of the one that went.
      expect(moved - own).toBeLessThan(mhTableSize() * 0.1);
    }
  });

  it('keeps ownership while a weight is 0 and has none without any weight', () => {
    const destinations = [view(1, 3), view(2, 2)];
    const drained = [view(1, 0, { lastWeight: 3 }), view(2, 2)];
    expect(mhTable(drained, 4)).toEqual(mhTable(destinations, 4));
    expect(new Set(mhTable([view(1, 0), view(2, 0)], 4))).toEqual(new Set([-1]));
    expect(new Set(mhTable([], 4))).toEqual(new Set([-1]));
  });

  it('shifts big weights down', () => {
    // 700/gcd 7 = 100: fls 7 - 6 bits = shift 1: turns 50; 7/7 = 1 >> 1 = 0, so 1. 4093 = 80 turns of 51 and 13 more.
    const table = mhTable([view(1, 700), view(2, 7)], 4);
    expect(shares(table, 2)).toEqual([4013, 80]);
  });

  it('has a table of the size that the kernel can be built with, a prime each, and shifts weights by it', () => {
    // net/netfilter/ipvs/Kconfig, IP_VS_MH_TAB_INDEX: 8 to 17, the prime just below that power of two.
    for (let index = mhTableIndexes.least; index <= mhTableIndexes.most; index++) {
      const table = mhTable([view(1, 1), view(2, 3)], 4, index);
      const isPrime = (n: number) =>
        !Array.from({ length: Math.sqrt(n) - 1 }, (_, i) => i + 2).some((d) => n % d === 0);
      const below = Array.from({ length: 2 ** index }, (_, i) => 2 ** index - i).find(isPrime);
      expect(table).toHaveLength(below!);
      expect(mhTableSize(index)).toBe(below);
      // Whole turns of 1 and 3, but for the last.
      const [one] = shares(table, 2);
      expect(Math.abs(one! - table.length / 4)).toBeLessThan(1);
    }
    // IP_VS_MH_TAB_BITS is half the index: 100 of 700/7 has 7 bits, with index 8 four are left, 12 of 13 a turn.
    expect(shares(mhTable([view(1, 700), view(2, 7)], 4, 8), 2)).toEqual([232, 19]);
    expect(shares(mhTable([view(1, 700), view(2, 7)], 4, 17), 2)[1]).toBe(Math.floor(131_071 / 101));
  });

  it('takes the first word of an IPv6 address for an IPv4 service, all four for an IPv6 one', () => {
    const tunnelled = { address: parseAddress('a00:1::5')!, port: 80, lastWeight: 1 };
    const plain = { address: parseAddress('10.0.0.1')!, port: 80, lastWeight: 1 };
    const other = { address: parseAddress('10.0.0.9')!, port: 80, lastWeight: 1 };
    expect(mhTable([tunnelled, other], 4)).toEqual(mhTable([plain, other], 4));
    expect(mhTable([tunnelled, other], 6)).not.toEqual(mhTable([plain, other], 6));
  });
});

describe('locality', () => {
  const address = (n: number) => addressFromBytes(Uint8Array.of(203, n >>> 16, n >>> 8, n));

  it('forgets what was idle for a day at every 30th tick', () => {
    const table = createLocalityTable<{ lastUsedMs: number }>();
    rememberLocality(table, address(1), { lastUsedMs: 0 });
    rememberLocality(table, address(2), { lastUsedMs: 60_000 });
    for (let tick = 1; tick < 30; tick++) expireLocality(table, localityLimits.expirationMs);
    expect(table.entries).toBe(2);
    expireLocality(table, localityLimits.expirationMs);
    expect(table.entries).toBe(1);
    expect(findLocality(table, address(1))).toBeUndefined();
    expect(findLocality(table, address(2))).toBeDefined();
  });

  it('shrinks above 16384 entries and takes none above 24576', () => {
    const table = createLocalityTable<{ lastUsedMs: number }>();
    for (let n = 0; n < 30_000; n++) rememberLocality(table, address(n), { lastUsedMs: 0 });
    expect(table.entries).toBe(24_576);
    expireLocality(table, 6 * 60_000 - 1);
    expect(table.entries).toBe(24_576);
    expireLocality(table, 6 * 60_000);
    // The goal is min((24576 - 16384) x 4/3, 8192) = 8192; the bucket that reaches it goes whole.
    expect(24_576 - table.entries).toBeGreaterThanOrEqual(8192);
    expect(24_576 - table.entries).toBeLessThan(8192 + 200);
  });

  it('lblcr takes the most loaded member out of a set unchanged for a day', () => {
    const crowd = [view(1, 1, { active: 2, total: 2 }), view(2, 4)];
    const scheduling = startScheduler('lblcr', crowd, 4);
    expect(scheduling.choose([crowd[0]!, view(2, 0)], request(1))).toBe(0);
    expect(scheduling.choose(crowd, request(1))).toBe(1);
    const busy = [view(1, 1, { active: 0, total: 1 }), view(2, 4, { active: 4, total: 90 })];
    expect(scheduling.choose(busy, request(1, { nowMs: localityLimits.expirationMs }))).toBe(0);
    expect(scheduling.choose(busy, request(1, { nowMs: localityLimits.expirationMs + 1 }))).toBe(0);
    // Destination 2 left the set: 1 is taken although 2 would now be the lighter member.
    expect(scheduling.choose([view(1, 1, { total: 5 }), view(2, 4)], request(1, { nowMs: 90_000_000 }))).toBe(
      0,
    );
  });
});
