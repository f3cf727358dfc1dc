import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Address } from './address.ts';
import { type Candidate, poolOf } from './pool.ts';
import type { Destination } from './virtual-service.ts';

const server = (last: number, weight: number): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
});
const sorryServer = server(99, 1);
const check = { initial: 'up', whenDown: 'remove' } as const;
const one = { quorum: 1, hysteresis: 0 };
const shown = (destinations: readonly Destination[]) =>
  Object.fromEntries(destinations.map(({ address, weight }) => [Number(address.split('.')[3]), weight]));

describe('who serves', () => {
  const up = { destination: server(1, 3), checks: [check], verdict: { isUp: true } };
  const down = { destination: server(2, 5), checks: [check], verdict: { isUp: false } };

  test('is everybody who is up; who is down leaves, or stays without new clients', () => {
    expect(shown(poolOf([up, down], one, false).destinations)).toEqual({ 1: 3 });
    const quiet = { ...down, checks: [{ ...check, whenDown: 'quiesce' }] as const };
    expect(shown(poolOf([up, quiet], one, false).destinations)).toEqual({ 1: 3, 2: 0 });
  });

  test('is as the check says before its first result, and everybody who is not checked', () => {
    const of = (initial: 'up' | 'down') =>
      poolOf([{ destination: server(1, 3), checks: [{ ...check, initial }] }], one, false);
    expect(shown(of('up').destinations)).toEqual({ 1: 3 });
    expect(shown(of('down').destinations)).toEqual({});
    expect(shown(poolOf([{ destination: server(1, 3), checks: [] }], one, false).destinations)).toEqual({
      1: 3,
    });
  });

  test('maintenance comes before what a check says; of one that is drained a check still says whether it is there', () => {
    const by = (override: 'drain' | 'maintenance', candidate: Candidate) =>
      shown(poolOf([{ ...candidate, override }], one, false).destinations);
    expect([by('maintenance', up), by('maintenance', down)]).toEqual([{ 1: 0 }, { 2: 0 }]);
    expect([by('drain', up), by('drain', down)]).toEqual([{ 1: 0 }, {}]);
  });

  test('an agent scales the weight, takes out and takes away, each by its own word', () => {
    const said = { factor: 1, isDown: false, whenDown: 'remove' } as const;
    const by = (agent: object, candidate: object = {}) =>
      poolOf(
        [
          {
            destination: server(1, 10),
            checks: [check],
            verdict: { isUp: true },
            agent: { ...said, ...agent },
            ...candidate,
          },
        ],
        { quorum: 1, hysteresis: 0 },
        false,
      );
    const weight = (...given: Parameters<typeof by>) => by(...given).destinations[0]?.weight;
    expect([0.4, 1.5, 0.01, 0, 1].map((factor) => weight({ factor }))).toEqual([4, 15, 1, 0, 10]);
    expect(weight({ factor: 0.5 }, { verdict: { isUp: true, share: 0.5, weight: 8 } })).toBe(2);
    expect(weight({ factor: 5 }, { destination: server(1, 0) })).toBe(0);
    expect([weight({ isDown: true }), weight({ isDown: true, whenDown: 'quiesce' })]).toEqual([undefined, 0]);
    expect([weight({ admission: 'drain' }), weight({ factor: 0.5 }, { override: 'drain' })]).toEqual([0, 0]);
    expect(by({ admission: 'maintenance' }, { override: 'drain' }).destinations[0]).toMatchObject({
      ...{ weight: 0, expiresTemplates: true },
    });
    // New clients may count on a loaded server; on one that is out they may not.
    expect([by({ factor: 0.1 }).sum, by({ factor: 0 }).sum, by({ admission: 'drain' }).sum]).toEqual([
      10, 0, 0,
    ]);
    expect(by({ isDown: true }).isLost).toBe(true);
  });

  test('an agent lowers the upper threshold, and never raises it', () => {
    const limit = (upperThreshold: number, lowerThreshold: number, maxConnections: number) => {
      const agent = { factor: 1, isDown: false, whenDown: 'remove', maxConnections } as const;
      const destination = { ...server(1, 10), upperThreshold, lowerThreshold };
      const [found] = poolOf([{ destination, checks: [], agent }], one, false).destinations;
      return [found!.upperThreshold, found!.lowerThreshold];
    };
    expect([limit(0, 0, 30), limit(100, 50, 30), limit(20, 10, 30)]).toEqual([
      ...[
        [30, 0],
        [30, 30],
        [20, 10],
      ],
    ]);
  });

  test('weights come from the check, grow slowly, and 0 stays 0', () => {
    const weight = (verdict: object, own = 10) =>
      poolOf(
        [{ destination: server(1, own), checks: [check], verdict: { isUp: true, ...verdict } }],
        one,
        false,
      ).destinations[0]!.weight;
    expect([weight({ weight: 4 }), weight({ weight: 0 }), weight({ weight: 4 }, 0)]).toEqual([4, 0, 0]);
    expect([weight({ share: 0.3 }), weight({ share: 0.1 }, 2), weight({ share: 0.1 }, 0)]).toEqual([3, 1, 0]);
    expect(weight({ share: 0.5, weight: 4 })).toBe(2);
  });
});

describe('the quorum', () => {
  const servers = (weights: readonly number[], downFrom: number): Candidate[] =>
    weights.map((weight, i) => ({
      destination: server(i + 1, weight),
      checks: [check],
      verdict: { isUp: i < downFrom },
    }));

  test('is lost and gained by keepalived’s rule', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 5 }),
        fc
          .integer({ min: 1, max: 10 })
          .chain((quorum) => fc.tuple(fc.constant(quorum), fc.integer({ min: 0, max: quorum - 1 }))),
        fc.array(fc.nat(5), { maxLength: 20 }),
        (weights, [quorum, hysteresis], ups) => {
          // The rule as keepalived 2.3 has it (check/ipwrapper.c, update_quorum_state): one threshold, moved by its state.
          let quorumIsUp = true;
          let lost = false;
          for (const up of ups) {
            const weightSum = weights.slice(0, up).reduce((sum, weight) => sum + weight, 0);
            const threshold = quorum + (quorumIsUp ? -1 : 1) * hysteresis;
            if (quorumIsUp && (weightSum === 0 || weightSum < threshold)) quorumIsUp = false;
            else if (!quorumIsUp && weightSum > 0 && weightSum >= threshold) quorumIsUp = true;
            const pool = poolOf(servers(weights, up), { quorum, hysteresis, sorryServer }, lost);
            expect(pool).toMatchObject({ isLost: !quorumIsUp, sum: weightSum });
            lost = pool.isLost;
          }
        },
      ),
    );
  });

  test('while it is lost only the sorry server gets new clients, and who is well keeps those it has', () => {
    const lost = poolOf(servers([2, 2, 2], 1), { quorum: 3, hysteresis: 0, sorryServer }, false);
    expect(shown(lost.destinations)).toEqual({ 1: 0, 99: 1 });
    expect(
      shown(poolOf(servers([2, 2, 2], 2), { quorum: 3, hysteresis: 0, sorryServer }, true).destinations),
    ).toEqual({
      1: 2,
      2: 2,
    });
  });

  test('without a sorry server who is well goes on', () => {
    expect(shown(poolOf(servers([2, 2], 1), { quorum: 3, hysteresis: 0 }, false).destinations)).toEqual({
      1: 2,
    });
  });

  test('a slow start does not lessen it, a person’s decision does', () => {
    const [first] = servers([4], 1);
    const rules = { quorum: 4, hysteresis: 0, sorryServer };
    expect(poolOf([{ ...first!, verdict: { isUp: true, share: 0.1 } }], rules, false).isLost).toBe(false);
    expect(poolOf([{ ...first!, override: 'drain' }], rules, false).isLost).toBe(true);
  });

  test('a sorry server that is a real server as well is there once', () => {
    const pool = poolOf(servers([2, 2], 1), { quorum: 3, hysteresis: 0, sorryServer: server(1, 1) }, false);
    expect(pool.destinations).toEqual([server(1, 1)]);
  });
});
