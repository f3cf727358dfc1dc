import { expect, test } from 'vitest';
import type { Address } from '../model/address.ts';
import { openTrouble } from './trouble.ts';

const other = '192.0.2.3' as Address;

test('another master counts with its second word, and is to be yielded to when it goes on', () => {
  const trouble = openTrouble('eth0', 1000);
  expect(trouble.rival(other, 100, 0)).toBe(false);
  expect(trouble.now(0)).toEqual([]);
  expect(trouble.rival(other, 100, 1000)).toBe(false);
  expect(trouble.now(1000)).toEqual([{ kind: 'rival', interface: 'eth0', source: other, priority: 100 }]);
  expect(trouble.rival(other, 100, 2000)).toBe(true);
  expect(trouble.now(5000)).toEqual([]);
});

test('what is refused is told at once, and for as long as its sender has the address', () => {
  const trouble = openTrouble('eth0', 1000);
  trouble.refused(other, 'authentication', 0);
  const [found] = trouble.now(0);
  expect(found).toEqual({ kind: 'refused', interface: 'eth0', source: other, why: 'authentication' });
  for (const nowMs of [1000, 2000, 3000, 4000])
    trouble.claimed({ address: '192.0.2.10' as Address, mac: '02:00:00:00:00:01' }, nowMs);
  expect(trouble.now(5000).map(({ kind }) => kind)).toEqual(['refused', 'claim']);
  expect(trouble.now(8000)).toEqual([]);
});

test('forged senders fill nothing', () => {
  const trouble = openTrouble('eth0', 1000);
  for (let i = 0; i < 1000; i++) trouble.refused(`192.0.2.${i}` as Address, 'checksum', 0);
  expect(trouble.now(0).length).toBeLessThanOrEqual(16);
});
