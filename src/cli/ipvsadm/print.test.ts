import { describe, expect, it } from 'vitest';
import { largeNumber } from './print.ts';

// The rule of ipvsadm(8): below 10^8 plain, then thousands, millions, billions, trillions, in nine columns.
describe('large numbers', () => {
  it.each([
    [0n, '        0'],
    [99_999_999n, ' 99999999'],
    [100_000_000n, '  100000K'],
    [999_999_999n, '  999999K'],
    [1_000_000_000n, '    1000M'],
    [99_999_999_999n, '   99999M'],
    [100_000_000_000n, '     100G'],
    [99_999_999_999_999n, '   99999G'],
    [100_000_000_000_000n, '     100T'],
    [18_446_744_073_709_551_615n, '18446744T'],
  ])('%s is shown as "%s"', (value, text) => {
    expect(largeNumber(value, false)).toBe(text);
  });

  it.each([
    [5n, '        5'],
    [12_345_678n, ' 12345678'],
    [123_456_789n, ' 123456789'],
    [18_446_744_073_709_551_615n, ' 18446744073709551615'],
  ])('%s is exactly "%s"', (value, text) => {
    expect(largeNumber(value, true)).toBe(text);
  });
});
