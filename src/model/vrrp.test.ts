import { expect, test } from 'vitest';
import { fitnessOf, type Tracked } from './vrrp.ts';

const well = (weight: number): Tracked => ({ what: 'interface eth1', weight });
const lost = (weight: number): Tracked => ({ ...well(weight), fault: 'down' });

/* The table of weights of keepalived.conf(5), vrrp_script and track_interface. */
test.each([
  [100, [], 100],
  [100, [well(20)], 120],
  [100, [lost(20)], 100],
  [100, [well(-20)], 100],
  [100, [lost(-20)], 80],
  [100, [well(20), lost(-50)], 70],
  [250, [well(20)], 254],
  [10, [lost(-50)], 1],
  [255, [lost(-50)], 255],
  [100, [well(0)], 100],
])('priority %i with %j is %i', (base, tracked, priority) => {
  expect(fitnessOf(base, tracked)).toEqual({ priority });
});

/* The same with the word "reverse", and keepalived(5): "'weight 0 reverse' will cause the instance to be down when it is up". */
test.each([
  [{ ...well(20), reverse: true }, { priority: 80 }],
  [{ ...lost(20), reverse: true }, { priority: 100 }],
  [{ ...well(-20), reverse: true }, { priority: 100 }],
  [{ ...lost(-20), reverse: true }, { priority: 120 }],
  [{ ...lost(0), reverse: true }, { priority: 100 }],
  [
    { ...well(0), reverse: true },
    { priority: 100, fault: 'interface eth1: it is there' },
  ],
] as const)('reversed: %j', (one, fitness) => {
  expect(fitnessOf(100, [one])).toEqual(fitness);
});

test('without a weight its loss is a fault', () => {
  expect(fitnessOf(100, [lost(0)])).toEqual({ priority: 100, fault: 'interface eth1: down' });
});
