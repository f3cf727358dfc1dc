import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { quickFolder } from '../../test/quick-folder.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { plan } from '../model/plan.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Table } from '../model/table.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { readApplied } from './applied.ts';
import { tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { currentRuntimeChanges, intend, putInForce } from './reconcile.ts';
import { isWorkUnderway, settle, settled, tableInBetween } from './underway.ts';
import { plainNames, type Wanted } from './wanted.ts';

const services = fc.uniqueArray(
  fc.record({
    port: fc.integer({ min: 1, max: 4 }),
    scheduler: fc.constantFrom('rr' as const, 'wlc' as const),
    members: fc.uniqueArray(fc.record({ last: fc.nat(4), weight: fc.nat(2) }), {
      selector: ({ last }) => last,
    }),
  }),
  { selector: ({ port }) => port },
);
const table = services.map(
  (list): Table => ({
    services: list.map(({ port, scheduler, members }) => ({
      service: {
        id: { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port },
        scheduler,
        schedulerFlags: { flag1: false, flag2: false, flag3: false },
        onePacket: false,
      } satisfies VirtualService,
      destinations: members.map(
        ({ last, weight }): Destination => ({
          address: `10.0.0.${last}` as Address,
          port: 80,
          method: 'masquerade',
          weight,
          upperThreshold: 0,
          lowerThreshold: 0,
        }),
      ),
    })),
  }),
);

/** Without the order of entries, which is no part of what somebody decided. */
const sorted = ({ services }: Table) =>
  services
    .map(({ service, destinations }) => ({
      service,
      destinations: destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
    }))
    .toSorted((a, b) => (serviceKey(a.service.id) < serviceKey(b.service.id) ? -1 : 1));
const wantedOf = (of: Table): Wanted => ({ table: of, timeouts: {}, own: false, names: plainNames });
const dead = new Error('the process ends here');

let directory: string;
const stateBefore = process.env.HEADGATE_STATE;
beforeEach(() => {
  // In memory where there is such a folder: thousands of files are written and synced.
  directory = mkdtempSync(join(quickFolder(), 'headgate-underway-'));
  process.env.HEADGATE_STATE = join(directory, 'state');
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

type World = { plane: ReturnType<typeof openMemoryPlane>; controller: Controller };
function emptyWorld(): World {
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  const plane = openMemoryPlane();
  return { plane, controller: { ...plane, directory } };
}

/** Puts a configuration in force; the process ends after so many steps where a number is given. */
async function put({ controller }: World, of: Table, endsAfter?: number): Promise<void> {
  const cut: Controller = {
    ...controller,
    apply: async (operations) => {
      await controller.apply(operations.slice(0, endsAfter));
      throw dead;
    },
  };
  const intention = await intend(controller, wantedOf(of));
  const what = { file: 'test.yaml', now: new Date(0) };
  if (endsAfter === undefined || intention.steps.length === 0) {
    await putInForce(controller, wantedOf(of), intention, what);
    return;
  }
  const before = readApplied(directory);
  const applied = before && readFileSync(join(directory, 'applied.json'));
  let record: Buffer | undefined;
  const spied: Controller = {
    ...cut,
    apply: (operations) => {
      if (isWorkUnderway(directory)) record = readFileSync(join(directory, 'applying.json'));
      return cut.apply(operations);
    },
  };
  await expect(putInForce(spied, wantedOf(of), intention, what)).rejects.toBe(dead);
  // A process that has ended tidies nothing up: the files as they were at that moment.
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  if (applied) writeFileSync(join(directory, 'applied.json'), applied);
  if (record) writeFileSync(join(directory, 'applying.json'), record);
}

const tableNow = async ({ controller }: World) => tableOf((await controller.read()).services);

describe('a configuration that is cut off on its way into force', () => {
  test('leaves no change that nobody made', async () => {
    await fc.assert(
      fc.asyncProperty(table, table, fc.nat(30), table, async (first, second, after, third) => {
        const world = emptyWorld();
        await put(world, first);
        await put(world, second, after);
        expect(await currentRuntimeChanges(await settled(world.controller))).toEqual([]);
        await put(world, third);
        expect(sorted(await tableNow(world))).toEqual(sorted(third));
        expect(await currentRuntimeChanges(world.controller)).toEqual([]);
      }),
    );
  });

  test('leaves no change that nobody made, also where none was settled, and none was in force before', async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.nat(30), table, async (first, after, second) => {
        const world = emptyWorld();
        await put(world, first, after);
        expect(await currentRuntimeChanges(world.controller)).toEqual([]);
        await put(world, second);
        expect(sorted(await tableNow(world))).toEqual(sorted(second));
        expect(isWorkUnderway(directory)).toBe(false);
      }),
    );
  });

  test('loses no change that somebody made before or after', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({ first: table, edited: table, second: table, later: table, after: fc.nat(30) }),
        async ({ first, edited, second, later, after }) => {
          const world = emptyWorld();
          await put(world, first);
          // Somebody makes the described services what `edited` has.
          await edit(world, edited, first);
          await put(world, second, after);
          const kept = await currentRuntimeChanges(world.controller);
          const next: World = { ...world, controller: await settled(world.controller) };
          expect(await currentRuntimeChanges(next.controller)).toEqual(kept);
          // After the crash all that is changed is somebody's, and the same configuration again takes none of it back.
          const described = readApplied(directory)?.table ?? first;
          await edit(next, later, described);
          const wished = await tableNow(next);
          await put(next, described);
          expect(sorted(await tableNow(next))).toEqual(sorted(wished));
        },
      ),
    );
  });

  test('comes to the same when it is put in force again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({ first: table, edited: table, second: table, after: fc.nat(30) }),
        async ({ first, edited, second, after }) => {
          const outcomes = [];
          for (const endsAfter of [undefined, after]) {
            const world = emptyWorld();
            await put(world, first);
            await edit(world, edited, first);
            await put(world, second, endsAfter);
            const next: World = { ...world, controller: await settled(world.controller) };
            await put(next, second);
            outcomes.push({
              table: sorted(await tableNow(next)),
              changes: await currentRuntimeChanges(next.controller),
            });
          }
          expect(outcomes[1]).toEqual(outcomes[0]);
        },
      ),
    );
  });

  test('is settled the same however often that is cut off', () => {
    fc.assert(
      fc.property(table, table, table, fc.nat(30), (before, wanted, found, count) => {
        const steps = plan(wanted, found).slice(0, count);
        const work = { generation: 2, table: wanted, steps };
        const once = tableInBetween(before, work, found);
        expect(sorted(tableInBetween(once, work, found))).toEqual(sorted(once));
      }),
    );
  });
});

/** What people do with ipvsadm: the services of `described` become what `to` has. */
async function edit({ controller }: World, to: Table, described: Table): Promise<void> {
  const ours = new Set(described.services.map(({ service }) => serviceKey(service.id)));
  const among = ({ services }: Table): Table => ({
    services: services.filter(({ service }) => ours.has(serviceKey(service.id))),
  });
  const now = tableOf((await controller.read()).services);
  await controller.apply(plan(among(to), among(now)));
}

test('a record that is cut off, or of a generation that is past, counts as none', async () => {
  const world = emptyWorld();
  const [one] = fc.sample(table, 1);
  await put(world, one!);
  for (const text of ['', '{"version":1,"generation":2', '{"version":1,"generation":1,"steps":[]}', 'null']) {
    writeFileSync(join(directory, 'applying.json'), text);
    expect(await currentRuntimeChanges(world.controller)).toEqual([]);
    await settle(world.controller);
    expect(isWorkUnderway(directory)).toBe(false);
    expect(readApplied(directory)).toMatchObject({ generation: 1, table: one });
  }
});
