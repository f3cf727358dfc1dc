import { expect, test } from 'vitest';
import { namesTag, namesTagWeakly, quoted } from './etag.ts';

test('a tag is quoted', () => {
  expect(quoted('a-1')).toBe('"a-1"');
});

// RFC 9110, 8.8.3.2 and the examples of 13.1.1 and 13.1.2.
test.each([
  ['"xyzzy"', true, true],
  ['"xyzzy", "r2d2xxxx", "c3piozzzz"', true, true],
  ['"r2d2xxxx","xyzzy"', true, true],
  ['W/"xyzzy"', false, true],
  ['W/"xyzzy", W/"r2d2xxxx"', false, true],
  ['*', true, true],
  ['"xyzz"', false, false],
  ['"a, xyzzy"', false, false],
  ['xyzzy', false, false],
  ['', false, false],
])('%s', (header, strong, weak) => {
  expect(namesTag(header, 'xyzzy')).toBe(strong);
  expect(namesTagWeakly(header, 'xyzzy')).toBe(weak);
});
