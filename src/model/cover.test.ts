import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Address } from './address.ts';
import { applyOperation } from './apply-operation.ts';
import { type Cover, coverOperations, coverTable, type Decisions, uncoverTable } from './cover.ts';
import { memberKey, type Override } from './override.ts';
import { plan } from './plan.ts';
import type { PoolRules, Verdict } from './pool.ts';
import { destinationKey, serviceKey } from './service-id.ts';
import type { Operation, Table } from './table.ts';
import type { Destination } from './virtual-service.ts';

const id = (port: number) =>
  ({ kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port }) as const;
const member = (last: number, weight = 1): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
});
const tableOf = (services: Readonly<Record<number, readonly Destination[]>>): Table => ({
  services: Object.entries(services).map(([port, destinations]) => ({
    service: {
      id: id(Number(port)),
      scheduler: 'rr',
      schedulerFlags: { flag1: false, flag2: false, flag3: false },
      onePacket: false,
    },
    destinations,
  })),
});

const destinations = fc
  .uniqueArray(fc.record({ last: fc.integer({ min: 1, max: 4 }), weight: fc.nat(5) }), {
    selector: ({ last }) => last,
  })
  .map((list) => list.map(({ last, weight }) => member(last, weight)));
const table = fc.record({ 1: destinations, 2: destinations }).map(tableOf);
/** Rules of both services, where somebody knows them. */
const decisions = fc
  .record({
    isKnown: fc.boolean(),
    checks: fc.array(
      fc.record({
        port: fc.integer({ min: 1, max: 2 }),
        last: fc.integer({ min: 1, max: 4 }),
        whenDown: fc.constantFrom('remove' as const, 'quiesce' as const),
        initial: fc.constantFrom('up' as const, 'down' as const),
        verdict: fc.option(
          fc.record({
            isUp: fc.boolean(),
            share: fc.option(fc.constantFrom(0.1, 0.5), { nil: undefined }),
            weight: fc.option(fc.nat(9), { nil: undefined }),
          }),
          { nil: undefined },
        ),
      }),
    ),
    sorry: fc.option(fc.integer({ min: 4, max: 6 }), { nil: undefined }),
    quorum: fc.integer({ min: 1, max: 6 }),
    lost: fc.subarray([serviceKey(id(1)), serviceKey(id(2))]),
    out: fc.uniqueArray(
      fc.record({
        port: fc.integer({ min: 1, max: 2 }),
        last: fc.integer({ min: 1, max: 4 }),
        state: fc.constantFrom('drain' as const, 'maintenance' as const),
      }),
      { selector: ({ port, last }) => `${port} ${last}` },
    ),
  })
  .map(({ isKnown, checks, sorry, quorum, lost, out }): Decisions => {
    const verdicts = new Map(
      checks.flatMap(({ port, last, verdict }) => {
        if (!verdict) return [];
        const { isUp, share, weight } = verdict;
        const told: Verdict = {
          isUp,
          ...(share !== undefined && { share }),
          ...(weight !== undefined && { weight }),
        };
        return [[memberKey(id(port), member(last)), told] as const];
      }),
    );
    const rules = (port: number): PoolRules => ({
      quorum,
      hysteresis: 0,
      ...(sorry !== undefined && { sorryServer: member(sorry, 1) }),
      checks: new Map(
        checks.filter((one) => one.port === port).map((one) => [destinationKey(member(one.last)), [one]]),
      ),
    });
    const overrides = out.map(
      ({ port, last, state }): Override => ({
        ...{ service: String(port), realServer: String(last), state, since: '', by: '' },
        members: [{ service: id(port), destination: { address: member(last).address, port: 80 } }],
      }),
    );
    return {
      ...{ overrides, verdictOf: (key: string) => verdicts.get(key), lost: new Set(lost) },
      ...(isKnown && { pools: new Map([1, 2].map((port) => [serviceKey(id(port)), rules(port)])) }),
    };
  });
const sorted = ({ services }: Table) =>
  services.map(({ service, destinations }) => ({
    service,
    destinations: destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
  }));
/** As a plane keeps it: who is edited keeps its place. */
const done = (table: Table, operations: readonly Operation[]) => operations.reduce(applyOperation, table);

describe('what lies over a table', () => {
  test('is no part of what is under it', () => {
    fc.assert(
      fc.property(table, decisions, (under, decided) => {
        const over = coverTable(under, decided);
        expect(sorted(uncoverTable(over.table, over.covers))).toEqual(sorted(under));
      }),
    );
  });

  test('leaves nothing of itself, however often it changes, wherever that is cut off', () => {
    fc.assert(
      fc.property(
        table,
        fc.array(decisions, { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        (under, list, cuts) => {
          let found = under;
          let covers: readonly Cover[] = [];
          for (const [i, decided] of list.entries()) {
            const next = coverTable(uncoverTable(found, covers), { ...decided, covers });
            const steps = plan(next.table, found);
            const cut = cuts[i] === undefined ? steps.length : cuts[i] % (steps.length + 1);
            // Written before, and no more of the earlier ones only when all is done.
            covers = [...covers, ...next.covers];
            found = done(found, steps.slice(0, cut));
            expect(sorted(uncoverTable(found, covers))).toEqual(sorted(under));
            if (cut === steps.length) covers = next.covers;
          }
        },
      ),
    );
  });

  test('without rules leaves who is down as it was, and puts nobody back', () => {
    const under = tableOf({ 1: [member(1, 3), member(2, 5)] });
    const verdicts = new Map([[memberKey(id(1), member(2)), { isUp: false }]]);
    const verdictOf = (key: string) => verdicts.get(key);
    const check = { initial: 'up', whenDown: 'remove' } as const;
    const pools = new Map([
      [serviceKey(id(1)), { quorum: 1, hysteresis: 0, checks: new Map([['10.0.0.2:80', [check]]]) }],
    ]);
    const first = coverTable(under, { overrides: [], pools, verdictOf });
    expect(first.table).toEqual(tableOf({ 1: [member(1, 3)] }));
    const again = coverTable(uncoverTable(first.table, first.covers), {
      overrides: [],
      verdictOf,
      covers: first.covers,
    });
    expect(again).toEqual(first);
  });
});

describe('what is written at runtime', () => {
  const under = member(2, 5);
  const place = { service: id(1), destination: { address: under.address, port: 80 } };
  const write = (cover: Cover, operation: Operation, overrides: readonly Override[] = []) =>
    coverOperations([operation], { overrides, covers: [cover] });
  const edit = { kind: 'edit-destination', id: id(1), destination: member(2, 9) } as const;
  const add = { ...edit, kind: 'add-destination' } as const;

  test('to one that is down at weight 0 is what it comes back with', () => {
    expect(write({ ...place, under, over: member(2, 0) }, edit)).toEqual({
      operations: [{ ...edit, destination: member(2, 0) }],
      covers: [{ ...place, under: member(2, 9), over: member(2, 0) }],
    });
  });

  test('to one that is out of the table is refused by the table, and one that is added stays out', () => {
    const out: Cover = { ...place, under };
    expect(write(out, edit)).toEqual({ operations: [edit], covers: [out] });
    expect(write(out, add)).toEqual({ operations: [undefined], covers: [{ ...place, under: member(2, 9) }] });
  });

  test('to a sorry server leaves it a sorry server', () => {
    const sorry: Cover = { ...place, over: member(2, 1) };
    expect(write(sorry, edit).covers).toEqual([{ ...place, over: member(2, 1) }]);
  });
});
