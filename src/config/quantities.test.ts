import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatDurationMs, parseDurationMs, parseSize } from './quantities.ts';

test.each([
  ['500ms', 500],
  ['3s', 3_000],
  ['1.5s', 1_500],
  ['0.1s', 100],
  ['15m', 900_000],
  ['1h', 3_600_000],
  ['1h30m', 5_400_000],
  ['2d', 172_800_000],
  ['0s', 0],
  ['365d', 31_536_000_000],
])('duration "%s" is %i ms', (text, durationMs) => {
  expect(parseDurationMs(text)).toBe(durationMs);
});

test.each(['', '3', 's', '-1s', '1 s', '3S', '1s1s', '1s1m', '1w', '0.5ms', '366d', '1e3s', '.5s', '3sec'])(
  'duration "%s" is none',
  (text) => {
    expect(parseDurationMs(text)).toBeUndefined();
  },
);

test('durations are read as they are written', () => {
  fc.assert(
    fc.property(fc.nat(365 * 86_400_000), (durationMs) => {
      expect(parseDurationMs(formatDurationMs(durationMs))).toBe(durationMs);
    }),
  );
  expect(formatDurationMs(90_000)).toBe('1m30s');
});

// IEC 80000-13: Ki, Mi, Gi are powers of 1024; SI: k, M, G of 1000.
test.each([
  ['512', 512],
  ['64Ki', 65_536],
  ['1Mi', 1_048_576],
  ['1.5M', 1_500_000],
  ['2k', 2_000],
  ['1Gi', 1_073_741_824],
  ['0.5Ki', 512],
])('size "%s" is %i', (text, size) => {
  expect(parseSize(text)).toBe(size);
});

test.each(['', 'Ki', '-1', '1K', '1ki', '0.3', '1 Mi', '1TiB', '99999999999999999999'])(
  'size "%s" is none',
  (text) => {
    expect(parseSize(text)).toBeUndefined();
  },
);
