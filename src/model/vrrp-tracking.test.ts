import { expect, test } from 'vitest';
import { fitnessOf } from './vrrp.ts';
import { isMeant, numberIn, quorumFault, trackedFile } from './vrrp-tracking.ts';

/* keepalived.conf(5), track_file: number times weight, a fault below -253; weight 0: any number but 0 is one. */
test.each([
  [5, 1, false, { priority: 105 }],
  [5, -2, false, { priority: 90 }],
  [5, 2, true, { priority: 90 }],
  [-300, 1, false, { priority: 100, fault: 'file load: its number is -300' }],
  [-253, 1, false, { priority: 1 }],
  [300, 1, false, { priority: 254 }],
  [0, 10, false, { priority: 100 }],
  [1, 0, false, { priority: 100, fault: 'file load: its number is 1' }],
  [0, 0, false, { priority: 100 }],
  [0, 0, true, { priority: 100, fault: 'file load: its number is 0' }],
])('number %i, weight %i, reversed %s', (value, weight, reverse, fitness) => {
  expect(fitnessOf(100, trackedFile('load', { weight, reverse, value }))).toEqual(fitness);
});

test.each([
  ['12\n', 12],
  [' -3 words', -3],
  ['', 0],
  ['words', 0],
  ['99999999999', 2 ** 31 - 1],
])('the number in %j is %i', (text, number) => {
  expect(numberIn(text)).toBe(number);
});

const haproxy = { name: 'haproxy', words: ['/usr/sbin/haproxy', '-f', '/etc/haproxy.cfg', '-Ws'] };
test.each([
  [{ command: ['haproxy'] }, true],
  [{ command: ['/usr/sbin/haproxy'] }, false],
  [{ command: ['/usr/sbin/haproxy'], match: 'exact' }, false],
  [{ command: ['/usr/sbin/haproxy'], match: 'first' }, true],
  [{ command: ['/usr/sbin/haproxy', '-f', '/etc/haproxy.cfg', '-Ws'] }, true],
  [{ command: ['/usr/sbin/haproxy', '-f', '/etc/haproxy.cfg'] }, false],
  [{ command: ['/usr/sbin/haproxy', '-f', '/etc/ha'], match: 'first' }, false],
  [{ command: ['/usr/sbin/haproxy', '-f', '/etc/ha'], match: 'prefix' }, true],
] as const)('%j', (pattern, meant) => {
  expect(isMeant(pattern, haproxy)).toBe(meant);
});

test('as many as are wanted', () => {
  expect(quorumFault(1, 1)).toBeUndefined();
  expect(quorumFault(0, 1)).toBe('0 run, wanted at least 1');
  expect(quorumFault(2, 1, 1)).toBe('2 run, wanted at most 1');
  expect(quorumFault(1, 0, 0)).toBe('1 run, wanted at most 0');
});
