import { expect, test } from 'vitest';
import { shownText } from './shown-text.ts';

test.each([
  ['EHLO x\r\n', 'EHLO x'],
  ['a\tb\\c\nd', 'a\\tb\\\\c\\nd'],
  ['\x1b[31mred\x07', '\\x1b[31mred\\x07'],
  [Buffer.from([0, 255, 65]), '\\x00\\xffA'],
  ['x'.repeat(201), `${'x'.repeat(200)}... (201 bytes)`],
])('%j', (data, shown) => {
  expect(shownText(data)).toBe(shown);
});
