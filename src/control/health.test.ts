import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { quickFolder } from '../../test/quick-folder.ts';
import { loadText } from '../config/load.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import type { Health, MemberHealth } from '../model/health.ts';
import type { Controller } from './controller.ts';
import { putHealthInForce } from './health.ts';
import { readHealth } from './health-store.ts';
import { changeOverrides } from './overrides.ts';
import { currentRuntimeChanges, intend, putInForce } from './reconcile.ts';
import { changeAtRuntime } from './runtime.ts';
import { statusOf } from './status.ts';
import { type Wanted, wantedOf } from './wanted.ts';

let folder: string;
let daemon: Controller;
let alone: Controller;
let health: Health;
let wanted: Wanted;
const stateBefore = process.env.HEADGATE_STATE;
beforeEach(() => {
  folder = mkdtempSync(join(quickFolder(), 'headgate-health-'));
  process.env.HEADGATE_STATE = join(folder, 'state');
  alone = { ...openMemoryPlane(), directory: join(folder, 'plane') };
  daemon = { ...alone, health: async () => ({ ...health, lost: readHealth(alone).lost }) };
  health = { members: [], lost: [], isChecking: true };
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const services = new Set(['tcp 192.0.2.10:80']);
const yaml = (more = '', weight = 3) => `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: rr
    method: masquerade
    check: { type: http, fall: 3 }
    ${more}
    realServers:
      - { name: web1, address: 10.0.0.1:80, weight: ${weight} }
      - { name: web2, address: 10.0.0.2:80, weight: 2 }
`;
const is = (last: number, isUp: boolean): MemberHealth => ({
  service: id,
  destination: { address: `10.0.0.${last}` as Address, port: 80 },
  ...{ check: 0, type: 'http', rise: 1, fall: 3, isUp, sinceMs: 0, against: 0 },
  ...(!isUp && {
    last: { result: { isGood: false, phase: 'expect', reason: 'got 503', durationMs: 4 }, atMs: 0 },
  }),
});

async function put(controller: Controller, text: string): Promise<void> {
  wanted = wantedOf(loadText(text, 'test.yaml').configuration!);
  const intention = await intend(controller, wanted);
  await putInForce(controller, wanted, intention, { file: 'test.yaml', now: new Date(0) });
}
async function find(...up: boolean[]): Promise<void> {
  health = { ...health, members: up.map((isUp, i) => is(i + 1, isUp)) };
  await putHealthInForce(daemon, wanted, services);
}
const weights = async () =>
  Object.fromEntries(
    (await alone.read()).services[0]!.destinations.map(({ destination }) => [
      destination.address.replace('10.0.0.', ''),
      destination.weight,
    ]),
  );

describe('what checks have found', () => {
  test('is in force, is no change of anybody, and is gone when all are well', async () => {
    await put(daemon, yaml());
    await find(false, true);
    expect(await weights()).toEqual({ 2: 2 });
    expect(await currentRuntimeChanges(daemon)).toEqual([]);
    expect((await intend(daemon, wanted)).steps).toEqual([]);
    await find(true, true);
    expect(await weights()).toEqual({ 1: 3, 2: 2 });
    expect(readHealth(alone)).toEqual({ lost: [], members: [] });
  });

  test('stays in force without a daemon, over another configuration and what people decide', async () => {
    await put(daemon, yaml());
    await find(false, true);
    await put(alone, yaml('', 7));
    expect(await weights()).toEqual({ 2: 2 });
    const request = { realServer: 'web/web2', state: 'drain', by: 'anna', yes: true } as const;
    await changeOverrides(alone, wanted, request, new Date(0));
    expect(await weights()).toEqual({ 2: 0 });
    // Also where nobody knows the rules any more.
    await changeOverrides(
      alone,
      { table: wanted.table, names: wanted.names },
      { ...request, state: 'ready' },
      new Date(0),
    );
    expect(await weights()).toEqual({ 2: 2 });
    await find(true, true);
    expect(await weights()).toEqual({ 1: 7, 2: 2 });
  });

  test('a configuration without the check puts everybody back', async () => {
    await put(daemon, yaml());
    await find(false, true);
    await put(alone, yaml().replace(/check: .*\n/, '\n'));
    expect(await weights()).toEqual({ 1: 3, 2: 2 });
    expect(readHealth(alone).members).toEqual([]);
  });

  test('a service that people have deleted stays deleted', async () => {
    await put(daemon, yaml());
    await find(false, true);
    await changeAtRuntime(daemon, [{ kind: 'delete-service', id }]);
    await find(true, true);
    expect((await alone.read()).services).toEqual([]);
    expect(await currentRuntimeChanges(daemon)).toEqual([{ kind: 'delete-service', id }]);
  });

  test('the sorry server comes before anybody leaves, and leaves when they are back', async () => {
    const operations: string[] = [];
    const { apply } = alone;
    await put(daemon, yaml('sorryServer: { address: 10.0.0.9:80 }'));
    daemon = {
      ...daemon,
      apply: (list) => {
        operations.push(...list.map(({ kind }) => kind));
        return apply(list);
      },
    };
    await putBoth(false);
    expect(operations.splice(0)).toEqual(['add-destination', 'delete-destination', 'delete-destination']);
    expect(await weights()).toEqual({ 9: 1 });
    expect(readHealth(alone).lost).toEqual([...services]);
    await putBoth(true);
    expect(readHealth(alone).lost).toEqual([]);
    expect(operations).toEqual(['add-destination', 'add-destination', 'delete-destination']);
    expect(await weights()).toEqual({ 1: 3, 2: 2 });
  });

  const putBoth = (isUp: boolean) => {
    health = { ...health, members: [is(1, isUp), is(2, isUp)] };
    return putHealthInForce(daemon, wanted, services);
  };

  test('status says who is down and why, and that nobody is checking', async () => {
    await put(daemon, yaml());
    await find(false, true);
    const source = { file: 'test.yaml', wanted };
    const found = await statusOf(daemon, source, { host: 'lb1' });
    expect(found.health).toBe('degraded');
    expect(found.services[0]).toMatchObject({
      usable: 1,
      trafficReason: expect.stringContaining('1 of 2 real servers usable: 1 down'),
    });
    expect(found.services[0]!.realServers.map(({ name, state, weight }) => [name, state, weight])).toEqual([
      ['web2', 'ready', 2],
      ['web1', 'down', 3],
    ]);
    expect(found.problems).toEqual([
      {
        about: ['web/web1'],
        what: 'it is down: http expect: got 503',
        remedy: 'headgate check web/web1 --verbose',
      },
    ]);
    const without = await statusOf(alone, source, { host: 'lb1' });
    expect(without.services[0]!.realServers[1]!.reason).toMatch(
      /^down 3\/3 {2}http expect: got 503 .*, nobody is checking now/,
    );
    await find(false, false);
    expect((await statusOf(daemon, source, { host: 'lb1' })).health).toBe('down');
  });

  test('what a good check warns of is a problem, and takes nobody’s service down', async () => {
    await put(daemon, yaml());
    const warning = 'certificate expires in 5 days';
    const result = { isGood: true, detail: `200 OK, ${warning}`, warning, durationMs: 4 } as const;
    health = { ...health, members: [{ ...is(1, true), last: { result, atMs: 0 } }, is(2, true)] };
    const found = await statusOf(daemon, { file: 'test.yaml', wanted }, { host: 'lb1' });
    expect(found.problems).toEqual([
      { about: ['web/web1'], what: `its ${warning}`, remedy: 'renew it on the real server' },
    ]);
    expect(found.health).toBe('ok');
  });
});
