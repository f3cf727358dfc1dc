import { expect, test } from 'vitest';
import { entryFor, isMet, obsoleteEntries, undoing } from './record.ts';
import type { Fact, Resource } from './resource.ts';

const resource: Resource = { kind: 'sysctl', name: 'net.ipv4.conf.all.arp_ignore' };
const fact = (want: string): Fact => ({ resource, want });
const first = entryFor(fact('1'), { text: '0' }, undefined);

test('what stood there before the agent came is restored', () => {
  expect(first.before.text).toBe('0');
  expect(undoing(first, '1')).toBe('restore');
});

test('nothing is done about a change that was written down and not made, or is undone already', () => {
  expect(undoing(first, '0')).toBe('nothing');
});

test('nothing is done about what is gone', () => {
  expect(undoing(first, undefined)).toBe('nothing');
});

test('what somebody else has put there is left', () => {
  expect(undoing(first, '2')).toBe('leave');
});

test('a second set-up keeps what stood there before the first, done or cut off', () => {
  const second = entryFor(fact('2'), { text: '1' }, first);
  expect(second.before.text).toBe('0');
  for (const standing of ['1', '2']) expect(undoing(second, standing)).toBe('restore');
  const third = entryFor(fact('3'), { text: '1' }, second);
  for (const standing of ['1', '2', '3']) expect(undoing(third, standing)).toBe('restore');
});

test('a second set-up over what somebody else has put there restores that', () => {
  const second = entryFor(fact('1'), { text: '7' }, first);
  expect(second.before.text).toBe('7');
  expect(undoing(second, '1')).toBe('restore');
});

test('what is the agent’s alone is taken away in whatever state it is', () => {
  const own = entryFor(
    { resource: { kind: 'decapsulation' }, want: '192.0.2.1' },
    { text: 'absent' },
    undefined,
  );
  expect(undoing(own, 'half done')).toBe('restore');
  expect(undoing(own, 'absent')).toBe('nothing');
});

test('a fact is met by what it wants and by what serves as well', () => {
  const strict: Fact = { ...fact('1'), accepts: (text) => text === '8' };
  expect(['0', '1', '8'].map((text) => isMet(strict, text))).toEqual([false, true, true]);
});

test('entries that no fact asks for are undone in the reverse order', () => {
  const named = (name: string) => ({ ...first, resource: { kind: 'sysctl', name } as const });
  const entries = ['a', 'b', 'c'].map(named);
  expect(obsoleteEntries(entries, [{ resource: { kind: 'sysctl', name: 'b' }, want: '1' }])).toEqual([
    named('c'),
    named('a'),
  ]);
});
