import { describe, expect, it } from 'vitest';
import { mostReadings, wholeList } from './whole-list.ts';

/** A list of which each reading brings the next of some texts, a letter an entry; how often it was read. */
function listed(pages: number, ...readings: readonly string[]) {
  let read = 0;
  const found = wholeList(
    () => ({ found: [...readings[Math.min(read++, readings.length - 1)]!], pages }),
    (one) => one.toLowerCase(),
  );
  return { found: found.join(''), read };
}

describe('a list in pages, which others change meanwhile', () => {
  it('of one page is what it is', () => {
    expect(listed(1, 'abc', 'ab')).toEqual({ found: 'abc', read: 1 });
  });

  it('of several is read until two readings have the same', () => {
    expect(listed(2, 'abc', 'abc')).toEqual({ found: 'abc', read: 2 });
    expect(listed(2, 'abxd', 'abcd', 'abcd')).toEqual({ found: 'abcd', read: 3 });
  });

  it('shows an entry once, that came up twice, and in its last state', () => {
    expect(listed(2, 'abbc', 'abBc')).toEqual({ found: 'aBc', read: 2 });
  });

  it('that never stays as it is misses nothing that was always there', () => {
    const readings = Array.from({ length: mostReadings }, (_, n) => (n % 2 === 0 ? 'abxc' : 'aby'));
    expect(listed(2, ...readings)).toEqual({ found: 'abxcy', read: mostReadings });
  });
});
