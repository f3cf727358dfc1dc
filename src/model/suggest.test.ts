import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { editDistance, suggest } from './suggest.ts';

describe('editDistance()', () => {
  // Textbook pairs (Damerau 1964, Levenshtein 1966).
  test.each([
    ['kitten', 'sitting', 3],
    ['flaw', 'lawn', 2],
    ['dmeo', 'demo', 1],
    ['', 'abc', 3],
    ['same', 'same', 0],
  ])('%s -> %s takes %i edits', (a, b, edits) => {
    expect(editDistance(a, b)).toBe(edits);
  });

  test('is symmetric, zero only for equal words, and never more than the longer word', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const distance = editDistance(a, b);
        expect(distance).toBe(editDistance(b, a));
        expect(distance === 0).toBe(a === b);
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });
});

test('suggest() names the nearest candidate and stays silent when none is near', () => {
  const candidates = ['demo', 'ipvsadm', 'ipvsadm-save', 'service', 'shims'];
  expect(suggest('dmeo', candidates)).toBe('demo');
  expect(suggest('IPVSADN', candidates)).toBe('ipvsadm');
  expect(suggest('ipvsadm-sav', candidates)).toBe('ipvsadm-save');
  expect(suggest('frobnicate', candidates)).toBeUndefined();
});
