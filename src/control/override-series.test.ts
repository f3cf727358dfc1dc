import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quickFolder } from '../../test/quick-folder.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { coverTable, uncoverTable } from '../model/cover.ts';
import type { Override } from '../model/override.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation, Table } from '../model/table.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { readOverrides } from './override-store.ts';
import { changeOverrides } from './overrides.ts';
import { currentRuntimeChanges, intend, putInForce } from './reconcile.ts';
import { changeAtRuntime, runtimeChanges } from './runtime.ts';
import { plainNames, type Wanted } from './wanted.ts';

let folder: string;
const stateBefore = process.env.HEADGATE_STATE;
beforeAll(() => {
  // In memory where there is such a folder: each step of a random series is synced to the disk.
  folder = mkdtempSync(join(quickFolder(), 'headgate-overrides-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const member = (last: number, weight = 1): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
});

const table = fc
  .uniqueArray(
    fc.record({
      port: fc.integer({ min: 1, max: 2 }),
      members: fc.uniqueArray(fc.record({ last: fc.nat(2), weight: fc.nat(2) }), {
        selector: ({ last }) => last,
      }),
    }),
    { selector: ({ port }) => port },
  )
  .map(
    (list): Table => ({
      services: list.map(({ port, members }) => ({
        service: {
          id: { ...id, port },
          scheduler: 'rr',
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
        },
        destinations: members.map(({ last, weight }) => member(last, weight)),
      })),
    }),
  );
const overridesOf = fc
  .uniqueArray(
    fc.record({
      port: fc.integer({ min: 1, max: 2 }),
      last: fc.nat(2),
      state: fc.constantFrom('drain' as const, 'maintenance' as const),
    }),
    { selector: ({ port, last }) => `${port} ${last}` },
  )
  .map((list) =>
    list.map(
      ({ port, last, state }): Override => ({
        service: String(port),
        realServer: String(last),
        state,
        since: '',
        by: '',
        members: [{ service: { ...id, port }, destination: { address: member(last).address, port: 80 } }],
      }),
    ),
  );

describe('overrides over any table', () => {
  test('cover a weight and nothing else, and are no part of the difference', () => {
    fc.assert(
      fc.property(table, table, overridesOf, (applied, found, overrides) => {
        const over = coverTable(found, { overrides });
        expect(uncoverTable(over.table, over.covers)).toEqual(found);
        expect(runtimeChanges(applied, uncoverTable(over.table, over.covers))).toEqual(
          runtimeChanges(applied, found),
        );
      }),
    );
  });

  type Act =
    | { readonly kind: 'runtime'; readonly operation: Operation }
    | { readonly kind: 'reload'; readonly table: Table; readonly drop: boolean }
    | { readonly kind: 'override'; readonly at: number; readonly state: 'drain' | 'maintenance' | 'ready' };
  const service = fc.integer({ min: 1, max: 2 }).map((port): VirtualService['id'] => ({ ...id, port }));
  const destination = fc.record({ last: fc.nat(2), weight: fc.nat(2) });
  const runtime = fc
    .oneof(
      { weight: 6, arbitrary: fc.constantFrom('edit-destination' as const, 'add-destination' as const) },
      { weight: 2, arbitrary: fc.constant('delete-destination' as const) },
      { weight: 1, arbitrary: fc.constantFrom('delete-service' as const, 'flush' as const) },
    )
    .chain((kind) =>
      fc.tuple(service, destination).map(([id, { last, weight }]): Act => {
        const operation =
          kind === 'flush'
            ? { kind }
            : kind === 'delete-service'
              ? { kind, id }
              : { kind, id, destination: member(last, weight) };
        return { kind: 'runtime', operation };
      }),
    );
  const act = fc.oneof(
    { weight: 4, arbitrary: runtime },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('override' as const),
        at: fc.nat(),
        state: fc.constantFrom('drain' as const, 'maintenance' as const, 'ready' as const),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('reload' as const), table, drop: fc.boolean() }),
    },
  );
  const sorted = ({ services }: Table) =>
    services
      .map(({ service, destinations }) => ({
        service,
        destinations: destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
      }))
      .toSorted((a, b) => (serviceKey(a.service.id) < serviceKey(b.service.id) ? -1 : 1));

  test('leave, when they end, what would be there had they never been', async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.array(act, { maxLength: 20 }), async (first, acts) => {
        rmSync(folder, { recursive: true, force: true });
        const with_: Controller = { ...openMemoryPlane(), directory: join(folder, 'with') };
        const without: Controller = { ...openMemoryPlane(), directory: join(folder, 'without') };
        let configuration: Wanted = { table: first, timeouts: {}, own: false, names: plainNames };
        const reload = async (one: Controller, dropRuntimeChanges: boolean) => {
          process.env.HEADGATE_STATE = join(folder, one === with_ ? 'state' : 'nothing');
          const intention = await intend(one, configuration, { dropRuntimeChanges });
          await putInForce(one, configuration, intention, { file: 'x', now: new Date(0) });
        };
        const override = async (text: string, state: 'drain' | 'maintenance' | 'ready') => {
          process.env.HEADGATE_STATE = join(folder, 'state');
          const request = { realServer: text, state, by: 'anna', yes: true };
          await changeOverrides(with_, configuration, request, new Date(0));
        };
        for (const one of [with_, without]) await reload(one, false);
        for (const act of acts) {
          if (act.kind === 'reload') {
            configuration = { ...configuration, table: act.table };
            for (const one of [with_, without]) await reload(one, act.drop);
          } else if (act.kind === 'runtime') {
            process.env.HEADGATE_STATE = join(folder, 'state');
            const answers = [
              await changeAtRuntime(with_, [act.operation]),
              await without.apply([act.operation]),
            ];
            expect(answers[0]).toEqual(answers[1]);
          } else {
            const all = (await with_.read()).services.flatMap(({ service, destinations }) =>
              destinations.map(({ destination }) => `${serviceKey(service.id)}/${destination.address}`),
            );
            if (all.length > 0) await override(all[act.at % all.length]!, act.state);
          }
          process.env.HEADGATE_STATE = join(folder, 'state');
          const out = new Set(readOverrides(with_).map((one) => `${one.service}/${one.realServer}`));
          for (const { service, destinations } of (await with_.read()).services)
            for (const { destination } of destinations)
              if (out.has(`${serviceKey(service.id)}/${destination.address}:80`))
                expect(destination.weight).toBe(0);
        }
        process.env.HEADGATE_STATE = join(folder, 'state');
        for (const one of readOverrides(with_)) await override(`${one.service}/${one.realServer}`, 'ready');
        const [found, plain] = [await with_.read(), await without.read()];
        expect(sorted(tableOf(found.services))).toEqual(sorted(tableOf(plain.services)));
        expect(await currentRuntimeChanges(with_)).toEqual(await currentRuntimeChanges(without));
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});
