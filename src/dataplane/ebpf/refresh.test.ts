import { expect, test } from 'vitest';
import { reasonAgain } from './refresh.ts';

/* ip_vs_sync_conn_needed() of Linux 6.12; jiffies, 250 a second. */

const second = 250;
const lifetime = 900 * second;
const after = (seconds: number, rest: { lifetime?: number; retried?: number } = {}) => ({
  ...{ ago: seconds * second, lifetime, retried: 0, second, ...rest },
});

test('its time comes after the refresh time, half its lifetime where that is less, and ten seconds where that is more', () => {
  const refresh = { refreshSeconds: 300 };
  expect([299, 300].map((ago) => reasonAgain(after(ago), refresh))).toEqual([undefined, 'refresh']);
  const minute = { lifetime: 60 * second };
  expect([29, 30].map((ago) => reasonAgain(after(ago, minute), refresh))).toEqual([undefined, 'refresh']);
  const short = { lifetime: 4 * second };
  expect([9, 10].map((ago) => reasonAgain(after(ago, short), refresh))).toEqual([undefined, 'refresh']);
  expect([1, 2].map((ago) => reasonAgain(after(ago, short), { refreshSeconds: 2 }))).toEqual([
    undefined,
    'refresh',
  ]);
});

test('until then it is told once more an eighth of that time later, as often as there are retries', () => {
  const rule = { refreshSeconds: 80, retries: 2 };
  expect([9, 10].map((ago) => reasonAgain(after(ago), rule))).toEqual([undefined, 'retry']);
  expect([0, 1, 2].map((retried) => reasonAgain(after(10, { retried }), rule))).toEqual([
    'retry',
    'retry',
    undefined,
  ]);
  expect(reasonAgain(after(80, { retried: 2 }), rule)).toBe('refresh');
});

test('where nobody says when, its time comes after a quarter of its lifetime', () => {
  expect([224, 225].map((ago) => reasonAgain(after(ago), {}))).toEqual([undefined, 'refresh']);
});
