import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CheckResult } from './check-result.ts';
import { type Damping, type HealthState, isHeld, letGo, startHealth, stepHealth } from './health.ts';

const good: CheckResult = { isGood: true, detail: 'connected', durationMs: 1 };
const bad: CheckResult = { isGood: false, phase: 'connect', reason: 'connection refused', durationMs: 1 };
const damping: Damping = { falls: 3, within: 300, hold: 60, longest: 400 };
const of = { rise: 1, fall: 1, damping };

type Step = { readonly isGood: boolean; readonly afterMs: number };
const steps = fc.array(fc.record({ isGood: fc.boolean(), afterMs: fc.integer({ min: 1, max: 200 }) }), {
  maxLength: 200,
});
const dampings = fc.record({
  falls: fc.integer({ min: 2, max: 5 }),
  within: fc.integer({ min: 10, max: 1000 }),
  hold: fc.integer({ min: 10, max: 500 }),
  longest: fc.integer({ min: 10, max: 2000 }),
});

function run(list: readonly Step[], settings: Parameters<typeof stepHealth>[2]) {
  let nowMs = 0;
  let state = startHealth({ initial: 'up' }, nowMs);
  return list.map(({ isGood, afterMs }) => {
    nowMs += afterMs;
    state = stepHealth(state, isGood ? good : bad, settings, nowMs);
    return { state, nowMs, isGood };
  });
}

/** Up and down again every `periodMs`, with one good and one bad result; the holds that come of it, by the time of its falls. */
function flapping(times: number, periodMs: number, start: HealthState = startHealth({ initial: 'up' }, 0)) {
  let state = start;
  let nowMs = 0;
  return Array.from({ length: times }, () => {
    nowMs = Math.max(nowMs + periodMs, state.heldUntilMs ?? 0);
    state = stepHealth(state, good, of, nowMs);
    nowMs += 1;
    state = stepHealth(state, bad, of, nowMs);
    return state.heldUntilMs === undefined || state.heldUntilMs <= nowMs ? 0 : state.heldUntilMs - nowMs;
  });
}

describe('damping of a real server that comes and goes', () => {
  test('holds it from its third fall on, each time twice as long, up to the longest time', () => {
    expect(flapping(8, 10)).toEqual([0, 0, 60, 120, 240, 400, 400, 400]);
  });

  test('is not for one that falls now and then', () => {
    expect(flapping(20, 151)).toEqual(Array(20).fill(0));
  });

  test('forgets everything when it has stayed up for long enough after it was let go', () => {
    const held = run(
      [1, 1, 1].flatMap(() => [
        { isGood: false, afterMs: 1 },
        { isGood: true, afterMs: 1 },
      ]),
      of,
    ).at(-1)!.state;
    expect(held).toMatchObject({ isUp: false, heldUntilMs: 5 + 60 });
    const back = stepHealth(held, good, of, 70);
    expect(back.isUp).toBe(true);
    expect(stepHealth(back, bad, of, 65 + 299)).toMatchObject({ heldUntilMs: 65 + 299 + 120 });
    expect(stepHealth(back, bad, of, 65 + 300)).toMatchObject({ falls: [65 + 300] });
  });

  test('is what the rule says of the times of all falls', () => {
    fc.assert(
      fc.property(steps, dampings, (list, damping) => {
        // The reference knows the times of all falls and how long each was held, and nothing else.
        const falls: { readonly atMs: number; readonly heldMs: number }[] = [];
        let isUp = true;
        for (const { state, nowMs, isGood } of run(list, { rise: 1, fall: 1, damping })) {
          const last = falls.at(-1);
          const until = last ? last.atMs + last.heldMs : 0;
          if (isUp && !isGood) {
            const held = falls.findLast(({ heldMs }) => heldMs > 0);
            const isAgain = held && nowMs - (held.atMs + held.heldMs) < damping.within;
            const within = falls.filter(({ atMs }) => nowMs - atMs < damping.within).length + 1;
            const firstMs = within >= damping.falls ? Math.min(damping.hold, damping.longest) : 0;
            const heldMs = isAgain ? Math.min(held.heldMs * 2, damping.longest) : firstMs;
            falls.push({ atMs: nowMs, heldMs });
            isUp = false;
          } else if (!isUp && isGood && nowMs >= until) isUp = true;
          expect(state.isUp).toBe(isUp);
        }
      }),
    );
  });

  test('takes nobody out that would be in, and holds nobody longer than the longest time', () => {
    fc.assert(
      fc.property(steps, dampings, (list, damping) => {
        const plain = run(list, { rise: 1, fall: 1 });
        for (const [i, { state, nowMs }] of run(list, { rise: 1, fall: 1, damping }).entries()) {
          if (state.isUp) expect(plain[i]!.state.isUp).toBe(true);
          if (isHeld(state, { damping }, nowMs))
            expect(state.heldUntilMs! - state.falls!.at(-1)!).toBeLessThanOrEqual(damping.longest);
          else expect(state.isUp).toBe(plain[i]!.state.isUp);
        }
      }),
    );
  });

  test('lets go whom nobody can do without, whom a person has looked after, and where a clock was set back', () => {
    const held: HealthState = { isUp: false, sinceMs: 0, against: 0, falls: [1, 2, 3], heldUntilMs: 1000 };
    expect(stepHealth(held, good, of, 900).isUp).toBe(false);
    expect(stepHealth(held, good, of, 900, true).isUp).toBe(true);
    expect(stepHealth(letGo(held), good, of, 900).isUp).toBe(true);
    expect(stepHealth(held, good, of, 599).isUp).toBe(true);
    expect(stepHealth(held, good, { rise: 1, fall: 1 }, 900).isUp).toBe(true);
  });
});
