import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { type MemoryPlane, openMemoryPlane, tcpFlags } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { gather } from '../model/connection-batches.ts';
import type { Path } from '../model/outlook.ts';
import type { Destination } from '../model/virtual-service.ts';
import type { Source } from './configuration-report.ts';
import type { Controller } from './controller.ts';
import { describe as describeObjects } from './describe.ts';
import { changeOverrides } from './overrides.ts';
import { intend, putInForce } from './reconcile.ts';
import { type StatusReport, statusOf } from './status.ts';
import { wantedOf } from './wanted.ts';

const web = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const two = `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: rr
    method: masquerade
    realServers:
      - { name: web1, address: 10.0.0.11:80 }
      - { name: web2, address: 10.0.0.12:80 }
`;
const three = `${two}  - name: dns
    address: 192.0.2.10:53/udp
    scheduler: rr
    method: masquerade
    realServers: [{ name: ns1, address: 10.0.0.13:53 }]
`;
const server = (last: number, settings: Partial<Destination> = {}): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...settings,
});

const answers = (via: string): Path => ({
  kind: 'neighbour',
  device: 'eth1',
  via: via as Address,
  mac: '02:00:00:00:00:01',
  silent: false,
  mtu: 1500,
});
const silent = (via: string): Path => ({ ...answers(via), mac: undefined, silent: true }) as unknown as Path;

let directory: string;
let plane: MemoryPlane;
let paths: Map<string, Path>;
let controller: Controller;
const stateBefore = process.env.HEADGATE_STATE;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headgate-status-'));
  process.env.HEADGATE_STATE = join(directory, 'state');
  plane = openMemoryPlane({ connections: 1000 });
  paths = new Map([['192.0.2.10', { kind: 'local' }]]);
  for (const last of [11, 12, 13]) paths.set(`10.0.0.${last}`, answers(`10.0.0.${last}`));
  controller = {
    ...plane,
    directory,
    outlook: async (_id, addresses) => ({
      paths: new Map(addresses.flatMap((one) => (paths.has(one) ? [[one, paths.get(one)!]] : []))),
    }),
  };
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

const source = (text: string, more: Partial<Source> = {}): Source => ({
  file: 'lb.yaml',
  wanted: wantedOf(loadText(text, 'lb.yaml').configuration!),
  ...more,
});

async function put(text: string): Promise<void> {
  const { wanted } = source(text);
  const intention = await intend(controller, wanted!);
  await putInForce(controller, wanted!, intention, { file: 'lb.yaml', now: new Date(0) });
}

const report = (from: Source): Promise<StatusReport> => statusOf(controller, from, { host: 'lb1' });

function connect(number: number, from = 1): void {
  for (let port = from; port < from + number; port++) {
    const client = { address: '203.0.113.1' as Address, port };
    const virtual = { protocol: 'tcp', address: web.address, port: web.port } as const;
    plane.packet(client, virtual, { direction: 'in', bytes: 40, flags: tcpFlags.syn });
    plane.packet(client, virtual, { direction: 'out', bytes: 40, flags: tcpFlags.syn | tcpFlags.ack });
    plane.packet(client, virtual, { direction: 'in', bytes: 40, flags: tcpFlags.ack });
  }
}

const words = ({ services, health, problems }: StatusReport) => ({
  health,
  services: services.map(({ name, configuration, traffic, health, usable }) =>
    [name, configuration, traffic, health, usable].join(' '),
  ),
  realServers: services.flatMap(({ realServers }) =>
    realServers.map(({ name, state, reason }) => `${name} ${state}: ${reason}`),
  ),
  problems: problems.map(({ about, what, remedy }) => `${about.join(', ')}: ${what} -> ${remedy}`),
});

describe('the status of a data plane', () => {
  test('is ok and idle while nobody comes, and carrying once somebody does', async () => {
    await put(two);
    const expected = {
      health: 'ok',
      services: ['web accepted idle ok 2'],
      realServers: ['web1 ready: it answers on eth1', 'web2 ready: it answers on eth1'],
      problems: [],
    };
    expect(words(await report(source(two)))).toEqual(expected);
    connect(3);
    const carrying = await report(source(two));
    expect(words(carrying)).toEqual({ ...expected, services: ['web accepted carrying ok 2'] });
    expect(carrying).toMatchObject({
      connectionTable: { used: 3, size: 1000 },
      virtualAddresses: { held: 1, of: 1 },
      configuration: { state: 'accepted', generation: 1, differences: 0, runtimeChanges: 0 },
      services: [{ active: 3, trafficReason: '2 of 2 real servers usable' }],
    });
  });

  test('says what a person has decided, and calls nobody changed or differing for it', async () => {
    await put(two);
    connect(4);
    const decide = (realServer: string, state: 'drain' | 'maintenance', reason?: string) =>
      changeOverrides(
        controller,
        source(two).wanted!,
        { realServer, state, by: 'anna', yes: true, ...(reason !== undefined && { reason }) },
        new Date(0),
      );
    await decide('web1', 'maintenance', 'new disk');
    const since = 'since 1970-01-01T00:00:00Z, by anna';
    expect(words(await report(source(two)))).toEqual({
      health: 'ok',
      services: ['web accepted carrying ok 1'],
      realServers: [
        `web1 maintenance: in maintenance: new disk, ${since}: 2 connections left; headgate ready web/web1`,
        'web2 ready: it answers on eth1',
      ],
      problems: [],
    });
    await decide('web2', 'drain');
    expect(words(await report(source(two)))).toMatchObject({
      health: 'down',
      problems: [
        'web: none of the 2 real servers of tcp 192.0.2.10:80 may have new connections -> headgate ready web/web1',
      ],
    });
  });

  test('is degraded by a real server that does not answer, with the next step', async () => {
    await put(two);
    paths.set('10.0.0.12', silent('10.0.0.12'));
    expect(words(await report(source(two)))).toEqual({
      health: 'degraded',
      services: ['web accepted idle degraded 1'],
      realServers: [
        'web1 ready: it answers on eth1',
        'web2 unreachable: nobody answers for 10.0.0.12 on eth1',
      ],
      problems: [
        'web/web2: nobody answers for 10.0.0.12 on eth1 -> is it up, and on that network? ip neighbour show 10.0.0.12',
      ],
    });
  });

  test('is down when the last real server goes, though the configuration is accepted', async () => {
    await put(two);
    for (const last of [11, 12]) paths.set(`10.0.0.${last}`, { kind: 'none' });
    const found = await report(source(two));
    expect(words(found)).toMatchObject({ health: 'down', services: ['web accepted down down 0'] });
    expect(found.services[0]!.trafficReason).toBe('0 of 2 real servers usable: 2 unreachable');
  });

  test('is down when the virtual address is gone, and says how to put it back', async () => {
    await put(two);
    paths.set('192.0.2.10', {
      kind: 'neighbour',
      device: 'eth0',
      via: '192.0.2.10',
      silent: false,
      mtu: 1500,
    } as Path);
    const found = words(await report(source(two)));
    expect(found).toMatchObject({ health: 'down', services: ['web accepted down down 0'] });
    expect(found.problems).toEqual([
      'web: the virtual address 192.0.2.10 is on no interface of this host, so nothing new is taken for it -> ip address add 192.0.2.10/32 dev eth0',
    ]);
  });

  test('takes weight 0 for a wish: draining with what is left, then drained', async () => {
    await put(two);
    connect(4);
    await controller.apply([{ kind: 'edit-destination', id: web, destination: server(12, { weight: 0 }) }]);
    expect(words(await report(source(two)))).toEqual({
      health: 'ok',
      services: ['web changed carrying ok 1'],
      realServers: [
        'web1 ready: it answers on eth1',
        'web2 draining: weight 0 by a change at runtime, 2 connections left',
      ],
      problems: [],
    });
    // TCP's timeout for established connections is 15 minutes.
    plane.advance(16 * 60_000);
    expect(words(await report(source(two))).realServers[1]).toBe(
      'web2 drained: weight 0 by a change at runtime, no connections left',
    );
  });

  test('is down when all weights are 0, and gives the whole command', async () => {
    await put(two);
    await controller.apply(
      [11, 12].map((last) => ({
        kind: 'edit-destination',
        id: web,
        destination: server(last, { weight: 0, upperThreshold: 9 }),
      })),
    );
    const { health, problems } = words(await report(source(two)));
    expect(health).toBe('down');
    expect(problems).toEqual([
      'web: none of the 2 real servers of tcp 192.0.2.10:80 may have new connections -> give one of them a weight above 0: headgate ipvsadm -e -t 192.0.2.10:80 -r 10.0.0.11:80 -m -w 1 -x 9',
    ]);
  });

  test('is degraded by a real server at its upper threshold', async () => {
    await put(two);
    await controller.apply([
      { kind: 'edit-destination', id: web, destination: server(12, { upperThreshold: 2 }) },
    ]);
    connect(4);
    const found = words(await report(source(two)));
    expect(found.health).toBe('degraded');
    expect(found.realServers[1]).toBe('web2 overloaded: 2 connections, and its upper threshold is 2');
  });

  test('says below what an overloaded real server serves again', async () => {
    await put(two);
    const thresholds = { upperThreshold: 3, lowerThreshold: 2 };
    await controller.apply([{ kind: 'edit-destination', id: web, destination: server(12, thresholds) }]);
    connect(6);
    const first = { address: '203.0.113.1' as Address, port: 1 };
    const virtual = { protocol: 'tcp', address: web.address, port: web.port } as const;
    plane.packet(first, virtual, { direction: 'in', bytes: 40, flags: tcpFlags.rst });
    plane.advance(11_000);
    const found = words(await report(source(two)));
    expect(found.realServers[1]).toBe('web2 overloaded: 2 connections, and it serves again below 2');
  });

  test('is degraded by a setting that the data plane does not act on', async () => {
    controller = { ...controller, capabilities: { ...plane.capabilities, ignores: ['persistence-engine'] } };
    await put(two);
    const service = {
      id: web,
      scheduler: 'rr',
      schedulerFlags: { flag1: false, flag2: false, flag3: false },
      onePacket: false,
      persistence: { timeoutSeconds: 300, netmask: 0xffffffff, engine: 'sip' },
    } as const;
    await controller.apply([{ kind: 'edit-service', service }]);
    connect(4);
    expect(words(await report(source(two)))).toMatchObject({
      health: 'degraded',
      services: ['web changed carrying degraded 2'],
      realServers: ['web1 ready: it answers on eth1', 'web2 ready: it answers on eth1'],
      problems: [
        expect.stringMatching(
          /^web: a persistence engine is set, and the data plane memory does not act on it/,
        ),
      ],
    });
  });

  test('knows what the configuration says otherwise, adds, and does not describe', async () => {
    await put(two);
    const found = await report(source(three.replace('scheduler: rr', 'scheduler: wlc')));
    expect(words(found)).toMatchObject({
      health: 'degraded',
      services: ['web differs idle ok 2', 'dns missing down degraded 0'],
      problems: ['dns: lb.yaml describes it, and it is not in force -> headgate plan lb.yaml'],
    });
    expect(found.services[0]!.configurationReason).toBe('lb.yaml says otherwise: ~ web scheduler rr -> wlc');
    expect(words(await report({ file: 'lb.yaml' })).services).toEqual([
      'tcp 192.0.2.10:80 undescribed idle ok 2',
    ]);
  });

  test('is degraded by a file that cannot be taken, and keeps the names of the one before', async () => {
    await put(two);
    const problem = { what: '1 mistake', remedy: 'headgate validate lb.yaml' };
    const kept = await report(source(two, { problem }));
    expect(words(kept)).toMatchObject({
      health: 'degraded',
      services: ['web accepted idle ok 2'],
      problems: ['lb.yaml: 1 mistake -> headgate validate lb.yaml'],
    });
    expect(kept.services[0]!.configurationReason).toBe('as lb.yaml said when it was taken last');
    expect(kept.configuration.state).toBe('failed');
    expect(words(await report({ file: 'lb.yaml', problem })).services).toEqual([
      'tcp 192.0.2.10:80 unknown idle ok 2',
    ]);
  });

  test('says nothing of ways where the plane does not know them', async () => {
    await put(two);
    const { outlook: _, directory: __, ...blind } = controller;
    const taken = { generation: 3, at: '2026-01-02T03:04:05.000Z' };
    const found = await statusOf(blind, source(two, { taken }), { host: 'lb1' });
    expect(found.virtualAddresses).toBeUndefined();
    expect(found.configuration).toMatchObject({ generation: 3, appliedAt: taken.at });
    // As the API has it.
    paths.clear();
    expect((await report(source(two))).virtualAddresses).toBeUndefined();
    expect(words(found)).toMatchObject({ health: 'ok', services: ['web accepted idle ok 2'] });
    expect(words(found).realServers[0]).toBe(
      'web1 ready: this data plane does not say whether it can be reached',
    );
  });

  test('puts the worst first and says once what several have', async () => {
    await put(three.replace('10.0.0.13:53', '10.0.0.12:53'));
    paths.set('10.0.0.12', { kind: 'none' });
    const { problems } = await report(source(three.replace('10.0.0.13:53', '10.0.0.12:53')));
    expect(problems.map(({ about }) => about)).toEqual([['dns/ns1', 'web/web2']]);
  });
});

describe('everything about one object', () => {
  const ask = (name: string, text = two) => describeObjects(controller, source(text), { host: 'lb1' }, name);

  test('has what is in force beside what is configured', async () => {
    await put(two);
    connect(3);
    await controller.apply([{ kind: 'edit-destination', id: web, destination: server(12, { weight: 0 }) }]);
    const [one, ...more] = await ask('web/web2');
    expect(more).toEqual([]);
    expect(one).toMatchObject({
      kind: 'real server',
      about: 'web/web2',
      service: { name: 'web', traffic: 'carrying' },
      inForce: { weight: 0 },
      configured: { weight: 1 },
      counters: { connections: '2', packetsIn: '4', packetsOut: '2' },
      connections: { states: { ESTABLISHED: 2 }, templates: 0 },
      path: { kind: 'neighbour', device: 'eth1', mac: '02:00:00:00:00:01' },
      room: 1500,
      differences: [],
      problems: [],
    });
    expect(one!.runtimeChanges).toHaveLength(1);
    expect((await ask('web/10.0.0.11:80'))[0]).toMatchObject({ about: 'web/web1', runtimeChanges: [] });
    expect((await ask('192.0.2.10:80/tcp'))[0]!.about).toBe('web');
    expect((await ask('192.0.2.10:80'))[0]).toMatchObject({
      kind: 'service',
      about: 'web',
      inForce: { scheduler: 'rr' },
      timeouts: { tcp: 900 },
      connections: { states: { ESTABLISHED: 3 } },
      path: { kind: 'local' },
    });
  });

  test('a plane that counts its connections is not asked for each of them', async () => {
    await put(two);
    connect(3);
    const [like] = await gather(controller.connections());
    const counting: Controller = {
      ...controller,
      connectionCounts: async () => [
        { like: like!, count: 1_000_000 },
        { like: { ...like!, state: 'FIN_WAIT', active: false }, count: 2 },
        { like: { ...like!, template: true }, count: 7 },
      ],
      connections: () => expect.unreachable(),
    };
    const [found] = await describeObjects(counting, source(two), { host: 'lb1' }, 'web');
    expect(found).toMatchObject({
      connections: { states: { ESTABLISHED: 1_000_000, FIN_WAIT: 2 }, templates: 7 },
    });
  });

  test('has a service that only the configuration knows', async () => {
    await put(two);
    expect((await ask('dns', three))[0]).toMatchObject({
      report: { configuration: 'missing', traffic: 'down' },
      configured: { scheduler: 'rr' },
      problems: [{ remedy: 'headgate plan lb.yaml' }],
    });
  });

  test.each([
    ['wbe', 'Cannot find "wbe": there is no virtual service of this name or address', 'did you mean "web"?'],
    ['web/web9', 'Cannot find "web/web9": web has no real server "web9"', 'did you mean "web/web1"?'],
    ['web2', 'Cannot find "web2"', 'did you mean "web/web2"?'],
    ['nothing like it', 'Cannot find', 'headgate get services'],
    ['web/', 'web has no real server ""', 'headgate get real-servers web'],
  ])('says of "%s" that there is none, and what is near', async (name, message, hint) => {
    await put(two);
    await expect(ask(name)).rejects.toMatchObject({
      code: 'HG_UNKNOWN_NAME',
      message: expect.stringContaining(message),
      hint: expect.stringContaining(hint),
    });
  });
});
