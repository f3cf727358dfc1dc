import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Address } from '../../model/address.ts';
import {
  masterDownMs,
  newVrrp,
  type Stepped,
  skewMs,
  step,
  type Vrrp,
  type VrrpEvent,
  type VrrpSettings,
} from './machine.ts';

const own = '192.0.2.2' as Address;
const other = '192.0.2.3' as Address;
const lower = '192.0.2.1' as Address;
const settings: VrrpSettings = {
  version: 3,
  routerId: 51,
  advertisementInterval: 100,
  preempt: true,
  preemptDelay: 0,
  downAfter: 3,
};

const heard = (priority: number, { from = other, intervalMs = 100 } = {}): VrrpEvent => ({
  kind: 'heard',
  from,
  advertisement: { version: 3, routerId: 51, priority, intervalMs, addresses: ['192.0.2.10' as Address] },
});
const fitness = (priority: number, fault?: string): VrrpEvent => ({
  kind: 'fitness',
  fitness: { priority, ...(fault !== undefined && { fault }) },
});
const due: VrrpEvent = { kind: 'due' };

/** Does events one after the other and gives the last step. */
function run(events: readonly (readonly [number, VrrpEvent])[], given: VrrpSettings = settings): Stepped {
  let stepped: Stepped = { vrrp: newVrrp(given, 0), actions: [] };
  for (const [nowMs, event] of events) stepped = step(stepped.vrrp, event, given, own, nowMs);
  return stepped;
}
const states = ({ actions }: Stepped) => actions.map((one) => (one.kind === 'enter' ? one.state : one.kind));

test('waits three intervals and its skew, then it is master', () => {
  const begun = run([[0, fitness(150)]]);
  expect(begun.vrrp).toMatchObject({ state: 'backup' });
  // RFC 9568, 6.1: ((256 - 150) * 100) / 256 ms.
  expect(skewMs(settings, begun.vrrp)).toBeCloseTo(41.4, 1);
  expect(masterDownMs(settings, begun.vrrp)).toBeCloseTo(341.4, 1);
  expect(
    run([
      [0, fitness(150)],
      [341, due],
    ]).vrrp.state,
  ).toBe('backup');
  const over = run([
    [0, fitness(150)],
    [342, due],
  ]);
  expect(states(over)).toEqual(['advertise', 'master']);
  expect(over.vrrp.dueMs).toBe(442);
});

test('version 2 skews by a part of a second', () => {
  const second = { ...settings, version: 2 as const, advertisementInterval: 1000 };
  expect(skewMs(second, run([[0, fitness(100)]], second).vrrp)).toBeCloseTo((156 / 256) * 1000, 6);
});

test('the owner does not wait', () => {
  expect(states(run([[0, fitness(255)]]))).toEqual(['advertise', 'master']);
});

test('a master that gives up is followed after the skew', () => {
  const after = run([
    [0, fitness(150)],
    [50, heard(200)],
    [60, heard(0)],
  ]);
  expect(after.vrrp.dueMs - 60).toBeCloseTo(41.4, 1);
});

test('a backup keeps to the interval of its master', () => {
  const slow = run([
    [0, fitness(100)],
    [10, heard(200, { intervalMs: 1000 })],
  ]);
  expect(slow.vrrp.dueMs).toBeCloseTo(10 + 3000 + (156 / 256) * 1000, 6);
  const zero = run([
    [0, fitness(100)],
    [10, heard(200, { intervalMs: 0 })],
  ]);
  expect(zero.vrrp.dueMs).toBeGreaterThan(40);
});

test('a lower master is overtaken, unless it may not be, or not yet', () => {
  const before = run([[0, fitness(150)]]).vrrp.dueMs;
  expect(
    run([
      [0, fitness(150)],
      [100, heard(100)],
    ]).vrrp.dueMs,
  ).toBe(before);
  const patient = { ...settings, preempt: false };
  expect(
    run(
      [
        [0, fitness(150)],
        [100, heard(100)],
      ],
      patient,
    ).vrrp.dueMs,
  ).toBeGreaterThan(before);
  const later = { ...settings, preemptDelay: 500 };
  const waiting = run(
    [
      [0, fitness(150)],
      [100, heard(100)],
      [550, heard(100)],
    ],
    later,
  ).vrrp.dueMs;
  expect(waiting).toBeCloseTo(550 + 341.4, 1);
  expect(
    run(
      [
        [0, fitness(150)],
        [100, heard(100)],
        [550, heard(100)],
        [650, heard(100)],
      ],
      later,
    ).vrrp.dueMs,
  ).toBe(waiting);
});

const master = [
  [0, fitness(150)],
  [400, due],
] as const;

test('who waits leaves a lower master alone, and takes over from nobody or when it need not wait any more', () => {
  const waiting: VrrpEvent = { kind: 'fitness', fitness: { priority: 150, waits: true } };
  const begun = run([[0, waiting]]).vrrp.dueMs;
  const served = run([
    [0, waiting],
    [100, heard(100)],
  ]);
  expect(served.vrrp.dueMs).toBe(begun + 100);
  expect(
    run([
      [0, waiting],
      [begun, due],
    ]).vrrp.state,
  ).toBe('master');
  const free = run([
    [0, waiting],
    [100, heard(100)],
    [150, fitness(150)],
    [200, heard(100)],
    [served.vrrp.dueMs, due],
  ]);
  expect(free.vrrp.state).toBe('master');
});

test('two masters: the higher priority stays, then the higher address', () => {
  expect(states(run([...master, [410, heard(151)]]))).toEqual(['backup']);
  expect(states(run([...master, [410, heard(149)]]))).toEqual(['advertise', 'announce']);
  expect(states(run([...master, [410, heard(150, { from: other })]]))).toEqual(['backup']);
  expect(states(run([...master, [410, heard(150, { from: lower })]]))).toEqual(['advertise', 'announce']);
  expect(states(run([...master, [410, heard(200, { from: own })]]))).toEqual([]);
  expect(states(run([...master, [410, heard(0)]]))).toEqual(['advertise']);
});

test('a fault gives the addresses up with a word, and the end of it is no take-over', () => {
  const failed = run([...master, [450, fitness(150, 'eth0 is down')]]);
  expect(failed.actions).toEqual([
    { kind: 'advertise', priority: 0 },
    { kind: 'enter', state: 'fault', reason: 'eth0 is down' },
  ]);
  expect(failed.vrrp.dueMs).toBe(Number.POSITIVE_INFINITY);
  expect(states(run([...master, [450, fitness(150, 'eth0 is down')], [500, fitness(150)]]))).toEqual([
    'backup',
  ]);
  expect(states(run([...master, [450, { kind: 'stop' }]]))).toEqual(['advertise', 'fault']);
});

test('a master that slept says nothing as master', () => {
  expect(states(run([...master, [500, due]]))).toEqual(['advertise']);
  const late = run([...master, [2500, due]]);
  expect(late.actions).toEqual([{ kind: 'enter', state: 'backup', reason: 'it did not run for 2100 ms' }]);
});

test('whatever happens, only a master advertises, and who is in fault is silent', () => {
  const event: fc.Arbitrary<VrrpEvent> = fc.oneof(
    fc.constant(due),
    fc.integer({ min: 0, max: 255 }).map((priority) => heard(priority)),
    fc.integer({ min: 1, max: 254 }).map((priority) => fitness(priority)),
    fc.integer({ min: 1, max: 254 }).map((priority) => fitness(priority, 'broken')),
    fc.constantFrom<VrrpEvent>(
      { kind: 'follow', state: 'master', reason: 'group' },
      { kind: 'stand-back', reason: 'handed over' },
      { kind: 'step-forward' },
      { kind: 'resign' },
      { kind: 'stop' },
    ),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), event), { maxLength: 60 }), (steps) => {
      let vrrp: Vrrp = newVrrp(settings, 0);
      let now = 0;
      for (const [passed, one] of steps) {
        now += passed;
        const before = vrrp;
        const { actions, vrrp: after } = step(vrrp, one, settings, own, now);
        vrrp = after;
        const speaks = actions.some(({ kind }) => kind === 'advertise');
        if (speaks) expect(before.state === 'master' || after.state === 'master').toBe(true);
        if (after.fitness.fault !== undefined) expect(after.state).toBe('fault');
        expect(actions.filter(({ kind }) => kind === 'enter').length <= 1).toBe(true);
        expect(after.state === before.state || actions.some(({ kind }) => kind === 'enter')).toBe(true);
        // Nobody waits for ever.
        if (after.state !== 'fault') expect(after.dueMs).toBeLessThan(now + 5000);
      }
    }),
  );
});

test('who hands over says so, stands back, and is there when nobody else is', () => {
  const master: readonly (readonly [number, VrrpEvent])[] = [
    [0, fitness(150)],
    [400, due],
  ];
  const handOver: VrrpEvent = { kind: 'stand-back', reason: 'handed over' };
  const given = run([...master, [450, handOver]]);
  expect(given.actions).toEqual([{ kind: 'advertise', priority: 0 }]);
  // It serves until its successor speaks.
  expect(given.vrrp).toMatchObject({ state: 'master', leaving: { state: 'backup' } });
  const over = run([...master, [450, handOver], [460, heard(0)], [500, heard(100)]]);
  expect(over.actions).toEqual([{ kind: 'enter', state: 'backup', reason: 'handed over' }]);
  // It hears a lower priority and leaves it alone.
  const heardLower: readonly (readonly [number, VrrpEvent])[] = [500, 600, 700, 800].map((at) => [
    at,
    heard(100),
  ]);
  const waits = run([...master, [450, handOver], ...heardLower]);
  expect(waits.vrrp).toMatchObject({ state: 'backup', standsBack: true });
  expect(waits.vrrp.dueMs).toBeGreaterThan(1100);
  // Nobody is heard any more.
  const alone = run([...master, [450, handOver], ...heardLower, [1200, due]]);
  expect(alone.vrrp.state).toBe('master');
  expect(alone.vrrp.standsBack).toBeUndefined();
  // Or it is told to step forward.
  const forward = run([
    ...master,
    [450, handOver],
    ...heardLower,
    [810, { kind: 'step-forward' }],
    [900, heard(100)],
  ]);
  expect(forward.vrrp.dueMs).toBe(waits.vrrp.dueMs);
});

test.each([
  ['is to end', { kind: 'resign' }, 'fault', 'stopped'],
  ['stands back', { kind: 'stand-back', reason: 'handed over' }, 'backup', 'handed over'],
] as const)('a master that %s serves no longer than a successor waits', (_, event, state, reason) => {
  const master = [
    [0, fitness(150)],
    [800, due],
    [850, event],
  ] as const;
  // Its own interval is the longest skew (RFC 9568, 6.1), of version 2 a second (RFC 3768, 6.1).
  const second = { ...settings, version: 2 as const };
  expect(run(master, second).vrrp.dueMs).toBeGreaterThan(1850);
  const { dueMs } = run(master).vrrp;
  expect(dueMs).toBeGreaterThan(950);
  // Its own words, come back, and those of another one that leaves are no successor's.
  const unheard = run([...master, [900, heard(150, { from: own })], [910, heard(0)], [949, due]]);
  expect(unheard).toMatchObject({ vrrp: { state: 'master', dueMs }, actions: [] });
  expect(run([...master, [dueMs, due]]).actions).toEqual([{ kind: 'enter', state, reason }]);
  expect(run([...master, [900, heard(1)]]).actions).toEqual([{ kind: 'enter', state, reason }]);
  // What becomes of its group becomes of it by itself.
  const follow: VrrpEvent = { kind: 'follow', state: 'backup', reason: 'its group' };
  expect(run([...master, [900, follow]]).vrrp.state).toBe('master');
  // What is broken is given up at once.
  expect(states(run([...master, [900, fitness(150, 'no carrier')]]))).toEqual(['advertise', 'fault']);
});

test('who became backup with its group waits for one advertisement, and then for three', () => {
  const followed = [
    [0, fitness(150)],
    [400, due],
    [450, { kind: 'follow', state: 'backup', reason: 'its group' }],
  ] as const;
  const { vrrp } = run(followed);
  expect(vrrp.state).toBe('backup');
  expect(vrrp.dueMs).toBeCloseTo(450 + 100 + (106 / 256) * 100, 6);
  expect(run([...followed, [460, heard(200)]]).vrrp.dueMs).toBeCloseTo(460 + 300 + (106 / 256) * 100, 6);
});

test('a master that is told to step forward again stays master', () => {
  const again = run([
    [0, fitness(150)],
    [400, due],
    [450, { kind: 'stand-back', reason: 'handed over' }],
    [460, { kind: 'step-forward' }],
  ]);
  expect(again).toMatchObject({ vrrp: { state: 'master', dueMs: 560 }, actions: [{ priority: 150 }] });
  expect(again.vrrp.leaving).toBeUndefined();
});
