import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { applyOperation } from '../model/apply-operation.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation, Table } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { tableOf } from './change.ts';
import type { Controller } from './controller.ts';
import { currentRuntimeChanges, intend, putInForce } from './reconcile.ts';
import { runtimeChanges, withRuntimeChanges } from './runtime.ts';
import { wantedOf } from './wanted.ts';

let directory: string;
let controller: Controller;
const stateBefore = process.env.HEADGATE_STATE;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headgate-reconcile-'));
  // Not what people decided on this machine.
  process.env.HEADGATE_STATE = join(directory, 'state');
  controller = { ...openMemoryPlane(), directory };
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

const yaml = (...servers: string[]) => `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wlc
    method: masquerade
    realServers: [${servers.map((server) => `{ ${server} }`).join(', ')}]
`;
const [one, two] = ['address: 10.0.0.1:80', 'address: 10.0.0.2:80'];
const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const member = (last: number, weight = 1): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight,
  upperThreshold: 0,
  lowerThreshold: 0,
});

async function put(text: string, order = {}): Promise<number> {
  const wanted = wantedOf(loadText(text, 'test.yaml').configuration!);
  const intention = await intend(controller, wanted, order);
  return putInForce(controller, wanted, intention, { file: 'test.yaml', now: new Date(0) });
}

const weights = async () => {
  const { services } = await controller.read();
  const found = services.flatMap(({ destinations }) => destinations.map(({ destination }) => destination));
  return Object.fromEntries(found.map(({ address, weight }) => [address.at(-1), weight]));
};

describe('what is changed at runtime', () => {
  test('stays over the next configuration where it still has a place', async () => {
    await put(yaml(one, two));
    await controller.apply([
      { kind: 'edit-destination', id, destination: member(1, 0) },
      { kind: 'add-destination', id, destination: member(3, 5) },
      { kind: 'delete-destination', id, destination: member(2) },
    ]);
    expect(await currentRuntimeChanges(controller)).toHaveLength(3);
    await put(yaml(one, two, 'address: 10.0.0.4:80'));
    expect(await weights()).toEqual({ 1: 0, 3: 5, 4: 1 });
    // The server it was about is not described any more.
    await put(yaml('address: 10.0.0.4:80'));
    expect(await weights()).toEqual({ 3: 5, 4: 1 });
    await put(yaml('address: 10.0.0.4:80'), { dropRuntimeChanges: true });
    expect(await weights()).toEqual({ 4: 1 });
    expect(await currentRuntimeChanges(controller)).toEqual([]);
  });

  test('outlives the process that made it', async () => {
    await put(yaml(one, two));
    await controller.apply([{ kind: 'edit-destination', id, destination: member(1, 7) }]);
    // What the next process sees: the table and the folder.
    controller = { ...controller };
    await put(yaml(one, two));
    expect(await weights()).toEqual({ 1: 7, 2: 1 });
  });

  test('is nothing while no configuration was applied, and one that is cut off counts as none', async () => {
    await controller.apply([
      {
        kind: 'add-service',
        service: {
          id,
          scheduler: 'rr',
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
        },
      },
      { kind: 'add-destination', id, destination: member(9) },
    ]);
    expect(await currentRuntimeChanges(controller)).toEqual([]);
    writeFileSync(join(directory, 'applied.json'), '{"version":1,"gener');
    await put(yaml(one));
    expect(await weights()).toEqual({ 1: 1 });
    expect(readdirSync(directory)).toEqual(['applied.json', 'state']);
  });
});

describe('a configuration in force', () => {
  test('has a generation, which the same one again does not change', async () => {
    expect([
      await put(yaml(one)),
      await put(yaml(one)),
      await put(yaml(one, two)),
      await put(yaml(one)),
    ]).toEqual([1, 1, 2, 3]);
  });

  test('takes back what an earlier one made, and no strangers', async () => {
    await put(yaml(one));
    await controller.apply([
      {
        kind: 'add-service',
        service: {
          id: { ...id, port: 443 },
          scheduler: 'rr',
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
        },
      },
    ]);
    await put('virtualServices: []');
    expect((await controller.read()).services.map(({ service }) => serviceKey(service.id))).toEqual([
      'tcp 192.0.2.10:443',
    ]);
    await put('own: true');
    expect((await controller.read()).services).toEqual([]);
  });
});

describe('runtime changes', () => {
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
          id: { ...id, port },
          scheduler,
          schedulerFlags: { flag1: false, flag2: false, flag3: false },
          onePacket: false,
        } satisfies VirtualService,
        destinations: members.map(({ last, weight }) => member(last, weight)),
      })),
    }),
  );
  const sorted = ({ services }: Table) =>
    services
      .map(({ service, destinations }) => ({
        service,
        destinations: destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
      }))
      .toSorted((a, b) => (serviceKey(a.service.id) < serviceKey(b.service.id) ? -1 : 1));

  test('over the configuration they were made over give what was there', () => {
    fc.assert(
      fc.property(table, table, (applied, found) => {
        const { table: made, dropped } = withRuntimeChanges(applied, runtimeChanges(applied, found));
        expect(dropped).toEqual([]);
        expect(sorted(made)).toEqual(sorted(found));
      }),
    );
  });

  test('over any other configuration come to what they come to one after the other', () => {
    fc.assert(
      fc.property(table, table, table, (applied, found, next) => {
        const changes = runtimeChanges(applied, found);
        const dropped: Operation[] = [];
        const made = changes.reduce((whole, change) => {
          if (!checkOperation(change, whole)) return applyOperation(whole, change);
          dropped.push(change);
          return whole;
        }, next);
        const outcome = withRuntimeChanges(next, changes);
        expect(sorted(outcome.table)).toEqual(sorted(made));
        expect(outcome.dropped).toEqual(dropped);
      }),
    );
  });

  test('over any other configuration never fail, and those without a place are named', () => {
    fc.assert(
      fc.property(table, table, table, (applied, found, next) => {
        const changes: Operation[] = runtimeChanges(applied, found);
        const { dropped } = withRuntimeChanges(next, changes);
        expect(dropped.every((change) => changes.includes(change))).toBe(true);
      }),
    );
  });
});

test('what is there is told as a table', async () => {
  await put(yaml(one));
  expect(tableOf((await controller.read()).services).services).toHaveLength(1);
});
