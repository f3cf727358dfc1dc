import { describe, expect, it } from 'vitest';
import { overloadAfterConnect, overloadAfterEdit, overloadAfterRelease, releaseLevel } from './overload.ts';

/** The flag after each connection count of a walk that starts with none. */
function walk(counts: readonly number[], upperThreshold: number, lowerThreshold: number): boolean[] {
  let total = 0;
  let overloaded = false;
  return counts.map((count) => {
    for (; total < count; )
      overloaded = overloadAfterConnect(overloaded, ++total, { upperThreshold, lowerThreshold });
    for (; total > count; )
      overloaded = overloadAfterRelease(overloaded, --total, { upperThreshold, lowerThreshold });
    return overloaded;
  });
}

describe('overload', () => {
  it('starts at the upper threshold and ends below the lower one', () => {
    expect(walk([9, 10, 12, 10, 9, 4, 3, 5, 9], 10, 4)).toEqual([
      false,
      true,
      true,
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('ends below three quarters without a lower threshold', () => {
    expect(walk([10, 8, 7, 9, 10], 10, 0)).toEqual([true, true, false, false, true]);
    // total * 4 < upper * 3, the form of Linux before 6.12.
    const counts = Array.from({ length: 200 }, (_, n) => n);
    for (const upper of counts.slice(1)) {
      const level = releaseLevel({ upperThreshold: upper, lowerThreshold: 0 });
      expect(counts.find((total) => total * 4 >= upper * 3)).toBe(level);
    }
  });

  it('never happens without an upper threshold', () => {
    expect(walk([1, 1000, 0], 0, 0)).toEqual([false, false, false]);
  });

  it('is judged anew by an edit of a threshold, and kept by any other', () => {
    const before = { upperThreshold: 10, lowerThreshold: 4 };
    const judged = (upperThreshold: number, lowerThreshold: number, total: number, overloaded: boolean) =>
      overloadAfterEdit(overloaded, total, before, { upperThreshold, lowerThreshold });
    expect(judged(10, 4, 12, false)).toBe(false);
    expect(judged(10, 4, 2, true)).toBe(true);
    expect(judged(12, 4, 12, false)).toBe(true);
    expect(judged(12, 4, 6, true)).toBe(true);
    expect(judged(12, 4, 6, false)).toBe(false);
    expect(judged(12, 7, 6, true)).toBe(false);
    expect(judged(0, 0, 12, true)).toBe(false);
  });
});
