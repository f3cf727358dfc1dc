import { expect, test } from 'vitest';
import { nothingTold, noticesOf, type Transition } from './vrrp-notice.ts';

const groups = [{ name: 'both', instances: ['front', 'back'] }];

function told(transitions: readonly (readonly [string, Transition['state'], string?])[]): string[] {
  let states = nothingTold;
  return transitions.flatMap(([instance, state, reason = 'so']) => {
    const next = noticesOf(states, { instance, state, reason, priority: 100 }, groups);
    states = next.told;
    return next.notices.map(({ kind, name, state, priority }) => `${kind} ${name} ${state} ${priority}`);
  });
}

test('a group is told of once all of it is where it goes, with priority 0', () => {
  expect(
    told([
      ['front', 'backup'],
      ['back', 'backup'],
      ['front', 'master'],
      ['back', 'master'],
      ['back', 'fault'],
      ['front', 'fault'],
      ['front', 'fault', 'stopped'],
      ['back', 'fault', 'stopped'],
    ]),
  ).toEqual([
    'INSTANCE front BACKUP 100',
    'INSTANCE back BACKUP 100',
    'GROUP both BACKUP 0',
    'INSTANCE front MASTER 100',
    'INSTANCE back MASTER 100',
    'GROUP both MASTER 0',
    'INSTANCE back FAULT 100',
    'GROUP both FAULT 0',
    'INSTANCE front FAULT 100',
    'INSTANCE front STOP 100',
    'INSTANCE back STOP 100',
    'GROUP both STOP 0',
  ]);
});

test('the same state is told of once', () => {
  expect(
    told([
      ['front', 'backup'],
      ['front', 'backup'],
    ]),
  ).toEqual(['INSTANCE front BACKUP 100']);
});
