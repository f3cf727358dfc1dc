import { expect, test } from 'vitest';
import { durationArgument } from './duration-argument.ts';

test.each([
  ['5', 'write the unit: --timeout 5s'],
  ['soon', 'for instance --timeout 5m'],
])('a duration "%s" is refused with the next step', (text, hint) => {
  expect(() => durationArgument('--timeout', text)).toThrow(
    expect.objectContaining({ code: 'HG_USAGE', hint }),
  );
});
