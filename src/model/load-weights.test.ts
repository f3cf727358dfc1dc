import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LoadState, loadRules, stepLoad } from './load-weights.ts';

type Server = { readonly weight: number; readonly speed: number };
type World = {
  /** New work a step, in units of a server of speed 1. */
  readonly traffic: number;
  /** Steps until a weight shows in the load: connections that are there go on where they are. */
  readonly delay: number;
  readonly noise?: (step: number, server: number) => number;
};

/** Servers that the director gives work by weight, and whose load is what they are given over what they can do. */
function run(
  servers: readonly Server[],
  { traffic, delay, noise = () => 0 }: World,
  steps: number,
): number[][] {
  let states: ReadonlyMap<string, LoadState> = new Map();
  const history: number[][] = [];
  const weightsAt = (step: number) => history[step] ?? servers.map(({ weight }) => weight);
  for (let step = 0; step < steps; step++) {
    const shares = weightsAt(step - 1 - delay);
    const sum = shares.reduce((total, one) => total + one, 0);
    const members = servers.map(({ weight, speed }, i) => {
      const load = (traffic * shares[i]!) / sum / speed + noise(step, i);
      return { key: String(i), weight, load: Math.min(Math.max(load, 0), 2) };
    });
    states = stepLoad(members, states);
    history.push(servers.map(({ weight }, i) => weight * states.get(String(i))!.factor));
  }
  return history;
}

/** How far a series goes back against the direction it has gone, as a share of its end. */
function swing(series: readonly number[]): number {
  const [first, end] = [series[0]!, series.at(-1)!];
  const sign = end >= first ? 1 : -1;
  let furthest = first;
  let back = 0;
  for (const one of series) {
    furthest = sign > 0 ? Math.max(furthest, one) : Math.min(furthest, one);
    back = Math.max(back, (furthest - one) * sign);
  }
  return back / end;
}

const server = fc.record({
  weight: fc.integer({ min: 10, max: 1000 }),
  speed: fc.double({ min: 0.3, max: 3, noNaN: true }),
});
const pool = fc.array(server, { minLength: 1, maxLength: 8 });

describe('weights from load', () => {
  test('stay within their bounds and keep their sum, whatever is reported', () => {
    const reports = fc.array(fc.option(fc.double({ min: 0, max: 2, noNaN: true }), { nil: undefined }), {
      minLength: 3,
      maxLength: 3,
    });
    fc.assert(
      fc.property(fc.array(reports, { minLength: 1, maxLength: 60 }), (series) => {
        const weights = [10, 100, 65];
        let states: ReadonlyMap<string, LoadState> = new Map();
        for (const loads of series) {
          states = stepLoad(
            weights.map((weight, i) => ({
              key: String(i),
              weight,
              ...(loads[i] !== undefined && { load: loads[i] }),
            })),
            states,
          );
          const all = weights.map((weight, i) => ({ weight, state: states.get(String(i))! }));
          for (const { state } of all) {
            expect(state.factor).toBeGreaterThanOrEqual(loadRules.least);
            expect(state.factor).toBeLessThanOrEqual(loadRules.most);
          }
          const known = all.filter(({ state }) => state.load !== undefined);
          const sum = known.reduce((total, { weight, state }) => total + weight * state.factor, 0);
          const wanted = known.reduce((total, { weight }) => total + weight, 0);
          expect(Math.abs(sum - wanted)).toBeLessThanOrEqual(wanted * 1e-6);
        }
      }),
    );
  });

  test('change nothing where all have the same load, be it none or too much', () => {
    fc.assert(
      fc.property(pool, fc.double({ min: 0, max: 2, noNaN: true }), (servers, load) => {
        let states: ReadonlyMap<string, LoadState> = new Map();
        for (let step = 0; step < 20; step++)
          states = stepLoad(
            servers.map(({ weight }, i) => ({ key: String(i), weight, load })),
            states,
          );
        for (const { factor } of states.values()) expect(factor).toBe(1);
      }),
    );
  });

  test('give a server that is half as fast half the weight', () => {
    const servers = [
      { weight: 100, speed: 1 },
      { weight: 100, speed: 0.5 },
    ];
    const [fast, slow] = run(servers, { traffic: 1, delay: 1 }, 120).at(-1)!;
    expect(fast! + slow!).toBeCloseTo(200, 3);
    // Within what counts as the same load: e to the power of `rest` and of what `idle` takes off.
    expect(fast! / slow!).toBeGreaterThan(1.75);
    expect(fast! / slow!).toBeLessThanOrEqual(2.01);
  });

  test('come near to the speeds and then rest, without swinging, when weights show late', () => {
    fc.assert(
      fc.property(
        pool,
        fc.double({ min: 0.3, max: 1.5, noNaN: true }),
        fc.integer({ min: 0, max: 3 }),
        (servers, traffic, delay) => {
          const history = run(servers, { traffic, delay }, 300);
          for (const i of servers.keys()) {
            const series = history.map((weights) => weights[i]!);
            const late = series.slice(-100);
            expect(Math.max(...late) / Math.min(...late)).toBeLessThan(1.02);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test('go to where they are going in one sweep: with two servers nothing comes back', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.3, max: 3, noNaN: true }),
        fc.integer({ min: 0, max: 2 }),
        (speed, delay) => {
          const history = run(
            [
              { weight: 100, speed: 1 },
              { weight: 100, speed },
            ],
            { traffic: 1, delay },
            200,
          );
          for (const i of [0, 1]) expect(swing(history.map((weights) => weights[i]!))).toBeLessThan(0.05);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('do not follow noise', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -0.05, max: 0.05, noNaN: true }), { minLength: 64, maxLength: 64 }),
        (values) => {
          const servers = [1, 1, 1].map((speed) => ({ weight: 100, speed }));
          const noise = (step: number, i: number) => values[(step * 3 + i) % values.length]!;
          const history = run(servers, { traffic: 1.5, delay: 1, noise }, 200);
          for (const weights of history)
            for (const one of weights) expect(Math.abs(one - 100)).toBeLessThan(10);
        },
      ),
    );
  });

  test('go back to the configured one when nothing is reported any more, after a while', () => {
    const members = [1, 0.25].map((load, i) => ({ key: String(i), weight: 100, load }));
    let states: ReadonlyMap<string, LoadState> = new Map();
    for (let step = 0; step < 50; step++) states = stepLoad(members, states);
    expect(states.get('0')!.factor).toBeLessThan(0.6);
    const silent = members.map(({ load: _, ...rest }) => rest);
    const { factor } = states.get('0')!;
    for (let step = 0; step < loadRules.patience; step++) states = stepLoad(silent, states);
    expect(states.get('0')!.factor).toBeCloseTo(factor, 6);
    for (let step = 0; step < 30; step++) states = stepLoad(silent, states);
    for (const { factor } of states.values()) expect(Math.abs(factor - 1)).toBeLessThan(0.01);
  });

  test('of one that is silent come back without moving those that report', () => {
    const members = [
      { key: 'a', weight: 100, load: 0.5 },
      { key: 'b', weight: 100, load: 0.5 },
      { key: 'c', weight: 100 },
    ];
    let states: ReadonlyMap<string, LoadState> = new Map([
      ['c', { factor: 0.2, isMoving: false, missed: 9 }],
    ]);
    states = stepLoad(members, states);
    expect([states.get('a')!.factor, states.get('b')!.factor]).toEqual([1, 1]);
    expect(states.get('c')!.factor).toBeGreaterThan(0.2);
  });
});
