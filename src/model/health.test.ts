import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CheckResult } from './check-result.ts';
import {
  type HealthSettings,
  type HealthState,
  healthWord,
  lastResultText,
  shareOf,
  startHealth,
  stepHealth,
} from './health.ts';

const good = (weight?: number): CheckResult => ({
  isGood: true,
  detail: '200 OK',
  durationMs: 3.4,
  ...(weight !== undefined && { weight }),
});
const bad: CheckResult = {
  isGood: false,
  phase: 'expect',
  reason: 'got 503, want 200-299',
  durationMs: 4,
};
const settings = fc.record({
  rise: fc.integer({ min: 1, max: 5 }),
  fall: fc.integer({ min: 1, max: 5 }),
  initial: fc.constantFrom('up' as const, 'down' as const),
});
const results = fc.array(fc.boolean(), { maxLength: 60 });

function run(of: Pick<HealthSettings, 'rise' | 'fall' | 'initial'>, list: readonly boolean[]): HealthState[] {
  const states = [startHealth(of, 0)];
  for (const [i, isGood] of list.entries())
    states.push(stepHealth(states.at(-1)!, isGood ? good() : bad, of, i + 1));
  return states;
}

describe('the health of a real server', () => {
  test('is what counting back over the last results says', () => {
    fc.assert(
      fc.property(settings, results, (of, list) => {
        const states = run(of, list);
        // The reference knows no state: it looks for the latest stretch that was long enough to turn it either way.
        const expected = (until: number): boolean => {
          for (let end = until; end > 0; end--) {
            let length = 0;
            while (length < end && list[end - 1 - length] === list[end - 1]) length++;
            if (length >= (list[end - 1] ? of.rise : of.fall)) return list[end - 1]!;
          }
          return of.initial === 'up';
        };
        for (const [i, state] of states.entries()) expect(state.isUp).toBe(expected(i));
      }),
    );
  });

  test('never turns before its results have come in a row, and says since when it is what it is', () => {
    fc.assert(
      fc.property(settings, results, (of, list) => {
        const states = run(of, list);
        for (let i = 1; i < states.length; i++) {
          const [before, now] = [states[i - 1]!, states[i]!];
          if (before.isUp === now.isUp) {
            expect(now.sinceMs).toBe(before.sinceMs);
            continue;
          }
          const needed = now.isUp ? of.rise : of.fall;
          expect(list.slice(i - needed, i)).toEqual(Array(needed).fill(now.isUp));
          expect(now.sinceMs).toBe(i);
          expect(now.against).toBe(0);
        }
      }),
    );
  });

  test('turns as soon as the count is reached that is wanted by then', () => {
    const [one, three] = [
      { rise: 1, fall: 1 },
      { rise: 3, fall: 3 },
    ];
    let state = startHealth({ initial: 'up' }, 0);
    state = stepHealth(state, bad, three, 1);
    state = stepHealth(state, bad, three, 2);
    expect(state).toMatchObject({ isUp: true, against: 2 });
    expect(stepHealth(state, bad, one, 3)).toMatchObject({ isUp: false, against: 0, sinceMs: 3 });
  });

  test('has the weight of the last good result, and none where that asked for none', () => {
    const three = { rise: 3, fall: 3 };
    const asked = stepHealth(startHealth({ initial: 'up' }, 0), good(7), three, 1);
    expect(asked.weight).toBe(7);
    expect(stepHealth(asked, bad, three, 2).weight).toBe(7);
    expect(stepHealth(asked, good(), three, 2).weight).toBeUndefined();
  });
});

describe('a slow start', () => {
  const back: HealthState = { isUp: true, sinceMs: 1000, against: 0, backMs: 1000 };

  test('gives the weight back in ten steps, all of it within the time', () => {
    const shares = Array.from(
      { length: 12 },
      (_, i) => shareOf(back, { slowStart: 10_000 }, 1000 + i * 1000)?.share,
    );
    expect(shares).toEqual([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, undefined, undefined, undefined]);
  });

  test('never takes weight away as time goes on, and says truly when there is more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 86_400_000 }), fc.nat(100_000_000), (slowStart, afterMs) => {
        const now = shareOf(back, { slowStart }, back.backMs! + afterMs);
        if (!now) return;
        const next = shareOf(back, { slowStart }, now.moreAtMs + 0.01)?.share ?? 1;
        expect(next).toBeGreaterThan(now.share);
        expect(now.moreAtMs - back.backMs!).toBeLessThanOrEqual(slowStart);
      }),
    );
  });

  test('is not for one that is down, was never down, or need not start slowly', () => {
    expect(shareOf({ ...back, isUp: false }, { slowStart: 1000 }, 1000)).toBeUndefined();
    expect(shareOf(startHealth({ initial: 'up' }, 1000), { slowStart: 1000 }, 1000)).toBeUndefined();
    expect(shareOf(back, { slowStart: 0 }, 1000)).toBeUndefined();
    // A clock that was set does not hold it, forth or back.
    expect(shareOf(back, { slowStart: 1000 }, 0)).toBeUndefined();
    expect(shareOf(back, { slowStart: 1000 }, 1e12)).toBeUndefined();
  });
});

describe('health in words', () => {
  const of = { type: 'http', rise: 2, fall: 3, initial: 'up', slowStart: 0 } as const;
  const words = (list: readonly CheckResult[]) => {
    let state = startHealth(of, 0);
    return [state, ...list.map((result, i) => (state = stepHealth(state, result, of, i)))].map((one) =>
      healthWord({ ...one, ...of }),
    );
  };

  test('says how far it is on the way to the other state', () => {
    expect(words([good(), bad, bad, bad, bad, good(), good()])).toEqual([
      'up, not checked yet',
      'ok 3 ms',
      'failing 1/3',
      'failing 2/3',
      'down 3/3',
      'down 3/3',
      'rising 1/2',
      'ok 3 ms',
    ]);
  });

  test('says what came, what was wanted, how long it took and when', () => {
    const state = stepHealth(startHealth(of, 0), bad, of, 1000);
    expect(lastResultText({ ...state, ...of }, 13_000)).toBe(
      'http expect: got 503, want 200-299 (4 ms, 12s ago)',
    );
    expect(lastResultText({ ...startHealth(of, 0), ...of }, 0)).toBe('');
  });
});
