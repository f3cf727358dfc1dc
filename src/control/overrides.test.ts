import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { quickFolder } from '../../test/quick-folder.ts';
import { loadText } from '../config/load.ts';
import { openMemoryPlane, tcpFlags } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { gather } from '../model/connection-batches.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import type { Controller } from './controller.ts';
import { explain } from './explain.ts';
import { readOverrides } from './override-store.ts';
import { changeOverrides, listOverrides } from './overrides.ts';
import { currentRuntimeChanges, intend, putInForce } from './reconcile.ts';
import { changeAtRuntime } from './runtime.ts';
import { type Wanted, wantedOf } from './wanted.ts';

let folder: string;
let memory: ReturnType<typeof openMemoryPlane>;
let controller: Controller;
let wanted: Wanted;
const stateBefore = process.env.HEADGATE_STATE;
beforeEach(() => {
  // In memory where there is such a folder: each step of a random series is synced to the disk.
  folder = mkdtempSync(join(quickFolder(), 'headgate-overrides-'));
  process.env.HEADGATE_STATE = join(folder, 'state');
  memory = openMemoryPlane();
  controller = { ...memory, directory: join(folder, 'plane') };
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  if (stateBefore === undefined) delete process.env.HEADGATE_STATE;
  else process.env.HEADGATE_STATE = stateBefore;
});

const yaml = (servers: Record<string, string>, address = '192.0.2.10:80') => `
virtualServices:
  - name: web
    address: ${address}
    scheduler: wlc
    method: masquerade
    realServers: [${Object.entries(servers)
      .map(([name, rest]) => `{ name: ${name}, address: ${rest} }`)
      .join(', ')}]
`;
const three = { web1: '10.0.0.1:80, weight: 3', web2: '10.0.0.2:80, weight: 2', web3: '10.0.0.3:80' };
const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const member = (last: number, weight = 1, upperThreshold = 0): Destination => ({
  address: `10.0.0.${last}` as Address,
  port: 80,
  method: 'masquerade',
  weight,
  upperThreshold,
  lowerThreshold: 0,
});

async function put(text: string, order = {}) {
  wanted = wantedOf(loadText(text, 'test.yaml').configuration!);
  const intention = await intend(controller, wanted, order);
  await putInForce(controller, wanted, intention, { file: 'test.yaml', now: new Date(0) });
  return intention;
}

const ask = (realServer: string, state: 'drain' | 'maintenance' | 'ready', more = {}) =>
  changeOverrides(controller, wanted, { realServer, state, by: 'anna', yes: false, ...more }, new Date(1000));

const weights = async () => {
  const { services } = await controller.read();
  const found = services.flatMap(({ destinations }) => destinations.map(({ destination }) => destination));
  return Object.fromEntries(found.map(({ address, weight }) => [address.at(-1), weight]));
};

describe('a real server that is taken out', () => {
  test('has weight 0 and comes back with the one it had', async () => {
    await put(yaml(three));
    expect(await ask('web/web1', 'drain', { reason: 'new disk' })).toMatchObject([
      {
        service: 'web',
        realServer: 'web1',
        state: 'drain',
        reason: 'new disk',
        changed: true,
        connections: 0,
      },
    ]);
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    expect(await ask('web1', 'maintenance')).toMatchObject([
      { state: 'maintenance', changed: true, by: 'anna' },
    ]);
    expect(await listOverrides(controller, wanted)).toMatchObject([
      {
        state: 'maintenance',
        weights: [{ entry: 'tcp 192.0.2.10:80 10.0.0.1:80', weight: 3, configured: 3 }],
      },
    ]);
    expect(await ask('web1', 'ready')).toMatchObject([
      { state: 'ready', changed: true, weights: [{ weight: 3 }] },
    ]);
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1 });
    expect(await ask('web1', 'ready')).toMatchObject([{ changed: false }]);
    expect(await listOverrides(controller, wanted)).toEqual([]);
  });

  test('has its persistent clients while it drains, and not in maintenance', async () => {
    await put(`${yaml(three)}\n    persistence: 5m\n`);
    let port = 1000;
    const servedBy = () => {
      const client = { address: '203.0.113.1' as Address, port: port++ };
      const syn = { direction: 'in', bytes: 40, flags: 2 } as const;
      const verdict = memory.packet(client, { protocol: 'tcp', address: id.address, port: id.port }, syn);
      return verdict.kind === 'forwarded' ? Number(verdict.to.address.at(-1)) : undefined;
    };
    const flags = async () =>
      (await controller.read()).services.flatMap(({ destinations }) =>
        destinations.map(({ destination: { address, expiresTemplates } }) => [
          address.at(-1),
          expiresTemplates,
        ]),
      );
    const first = servedBy()!;
    await ask(`web${first}`, 'drain');
    expect([servedBy(), servedBy()]).toEqual([first, first]);
    await ask(`web${first}`, 'maintenance');
    expect(await flags()).toContainEqual([String(first), true]);
    expect(await currentRuntimeChanges(controller)).toEqual([]);
    const second = servedBy()!;
    expect(second).not.toBe(first);
    await ask(`web${second}`, 'maintenance');
    await ask(`web${second}`, 'drain');
    expect(servedBy()).toBe(second);
    for (const one of [first, second]) await ask(`web${one}`, 'ready');
    expect(await flags()).toEqual([
      ['1', undefined],
      ['2', undefined],
      ['3', undefined],
    ]);
  });

  test('stays out over the next configuration, and is no runtime change', async () => {
    await put(yaml(three));
    await ask('web1', 'maintenance');
    expect(await currentRuntimeChanges(controller)).toEqual([]);
    const { kept, overrides } = await put(
      yaml({ ...three, web1: '10.0.0.1:80, weight: 9', web4: '10.0.0.4:80' }),
    );
    expect(kept).toEqual([]);
    expect(overrides).toMatchObject([{ realServer: 'web1', state: 'maintenance' }]);
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1, 4: 1 });
    await put(yaml(three), { dropRuntimeChanges: true });
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1 });
  });

  test('keeps its state with its name when its address or that of its service changes', async () => {
    await put(yaml(three));
    await ask('web1', 'drain');
    await put(yaml({ ...three, web1: '10.0.0.7:80, weight: 4' }, '[192.0.2.10:80, 192.0.2.11:80]'));
    expect(await weights()).toEqual({ 7: 0, 2: 2, 3: 1 });
    expect((await controller.read()).services).toHaveLength(2);
    expect((await ask('192.0.2.11/10.0.0.7', 'ready'))[0]!.weights).toHaveLength(2);
    expect(await weights()).toEqual({ 7: 4, 2: 2, 3: 1 });
  });

  test('is out before it is there', async () => {
    await put(yaml({ web1: three.web1, web2: three.web2 }));
    await ask('web1', 'drain');
    await put(yaml({ web2: three.web2 }));
    expect(await weights()).toEqual({ 2: 2 });
    expect(await listOverrides(controller, wanted)).toMatchObject([{ realServer: 'web1', weights: [] }]);
    await put(yaml(three));
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1 });
  });

  test('does not come back by ipvsadm, and has what ipvsadm wrote when it is ready', async () => {
    await put(yaml(three));
    await ask('web1', 'maintenance');
    await changeAtRuntime(controller, [{ kind: 'edit-destination', id, destination: member(1, 7, 100) }]);
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    await changeAtRuntime(controller, [{ kind: 'delete-destination', id, destination: member(1) }]);
    expect(await weights()).toEqual({ 2: 2, 3: 1 });
    await changeAtRuntime(controller, [{ kind: 'add-destination', id, destination: member(1, 5) }]);
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    expect(await currentRuntimeChanges(controller)).toEqual([
      { kind: 'edit-destination', id, destination: member(1, 5) },
    ]);
    await put(yaml({ ...three, web4: '10.0.0.4:80' }));
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 5, 2: 2, 3: 1, 4: 1 });
  });

  test('keeps what it had when a change is refused', async () => {
    await put(yaml(three));
    await ask('web1', 'drain');
    const refusals = await changeAtRuntime(controller, [
      { kind: 'add-destination', id, destination: member(1, 8) },
      { kind: 'edit-destination', id, destination: member(1, -1) },
    ]);
    expect(refusals.map((refusal) => refusal?.reason)).toEqual(['destination-exists', 'out-of-range']);
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1 });
  });

  test('has nothing left of it when it is ready', async () => {
    await put(yaml(three));
    await ask('web1', 'drain');
    await ask('web1', 'ready');
    await changeAtRuntime(controller, [{ kind: 'edit-destination', id, destination: member(1, 0) }]);
    expect(await currentRuntimeChanges(controller)).toHaveLength(1);
    await put(yaml({ ...three, web4: '10.0.0.4:80' }));
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1, 4: 1 });
  });

  test('is taken out again when somebody wrote past us, and has that weight when it is ready', async () => {
    await put(yaml(three));
    await ask('web1', 'drain');
    await memory.apply([{ kind: 'edit-destination', id, destination: member(1, 9) }]);
    await put(yaml({ ...three, web4: '10.0.0.4:80' }));
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1, 4: 1 });
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 9, 2: 2, 3: 1, 4: 1 });
  });

  test('has what ipvsadm wrote also when ipvsadm was killed over it', async () => {
    await put(yaml(three));
    await ask('web1', 'drain');
    const killed: Controller = {
      ...controller,
      async apply(operations) {
        await memory.apply(operations);
        throw new Error('killed');
      },
    };
    const change = changeAtRuntime(killed, [{ kind: 'edit-destination', id, destination: member(1, 7) }]);
    await expect(change).rejects.toThrow('killed');
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 7, 2: 2, 3: 1 });
  });

  test('may be of a service that nobody described', async () => {
    wanted = wantedOf(loadText('virtualServices: []', 'test.yaml').configuration!);
    const service: VirtualService = {
      id: { ...id, port: 443 },
      scheduler: 'rr',
      schedulerFlags: { flag1: false, flag2: false, flag3: false },
      onePacket: false,
    };
    await changeAtRuntime(controller, [
      { kind: 'add-service', service },
      { kind: 'add-destination', id: service.id, destination: member(8, 6) },
      { kind: 'add-destination', id: service.id, destination: member(9, 6) },
    ]);
    await ask('10.0.0.8', 'drain');
    await put(yaml(three));
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1, 8: 0, 9: 6 });
    expect(await ask('192.0.2.10:443/10.0.0.8:80', 'ready')).toMatchObject([
      { service: 'tcp 192.0.2.10:443' },
    ]);
    expect(await weights()).toMatchObject({ 8: 6 });
  });

  test('wants a word when a service is left without any', async () => {
    await put(yaml({ web1: '10.0.0.1:80' }));
    await expect(ask('web1', 'drain')).rejects.toMatchObject({
      code: 'HG_NEEDS_YES',
      message: 'Cannot drain "web1" without a word: web is left without a real server for new clients',
    });
    expect(await weights()).toEqual({ 1: 1 });
    expect(readOverrides(controller)).toEqual([]);
    await ask('web1', 'drain', { yes: true });
    expect(await weights()).toEqual({ 1: 0 });
  });

  test('is what a client is told, and the way back with it', async () => {
    await put(yaml({ web1: '10.0.0.1:80' }));
    await ask('web1', 'maintenance', { yes: true, reason: 'new disk' });
    const client = { address: '203.0.113.9' as Address };
    const { candidates, problems } = await explain(controller, { protocol: 'tcp', client, virtual: id });
    expect(candidates).toMatchObject([
      { excluded: 'in maintenance: new disk, since 1970-01-01T00:00:01Z, by anna' },
    ]);
    expect(problems).toMatchObject([{ remedy: 'headgate ready web/web1' }]);
  });

  test('keeps the reason of the state before, and when the state it has began', async () => {
    await put(yaml(three));
    await ask('web1', 'drain', { reason: 'new disk' });
    await ask('web1', 'drain', { reason: 'two new disks' });
    const request = { realServer: 'web1', state: 'drain', by: 'otto', yes: false } as const;
    await changeOverrides(controller, wanted, request, new Date(5000));
    expect(readOverrides(controller)).toMatchObject([
      { reason: 'two new disks', since: '1970-01-01T00:00:01.000Z', by: 'otto' },
    ]);
    await changeOverrides(controller, wanted, { ...request, state: 'maintenance' }, new Date(9000));
    expect(readOverrides(controller)).toMatchObject([
      { state: 'maintenance', reason: 'two new disks', since: '1970-01-01T00:00:09.000Z' },
    ]);
  });

  test('has the connections left that have not ended', async () => {
    await put(yaml({ web1: '10.0.0.1:80' }));
    const [virtual, to] = [{ protocol: 'tcp', address: id.address, port: 80 } as const, 'in' as const];
    const say = (port: number, direction: 'in' | 'out', flags: number) =>
      memory.packet({ address: '203.0.113.1' as Address, port }, virtual, { direction, bytes: 40, flags });
    for (const port of [1, 2, 3]) {
      say(port, to, tcpFlags.syn);
      say(port, 'out', tcpFlags.syn | tcpFlags.ack);
      say(port, to, tcpFlags.ack);
    }
    const left = async () => (await listOverrides(controller, wanted))[0]!.connections;
    await ask('web1', 'drain', { yes: true });
    expect(await left()).toBe(3);
    for (const port of [1, 2])
      for (const way of ['in', 'out'] as const) say(port, way, tcpFlags.fin | tcpFlags.ack);
    // The two that ended are in the table still: ip_vs_proto_tcp.c keeps TIME_WAIT 120 s.
    expect((await gather(controller.connections())).length).toBe(3);
    expect(await left()).toBe(1);
    say(3, 'out', tcpFlags.fin | tcpFlags.ack);
    // The server has closed its side; the client has not.
    expect(await left()).toBe(1);
    say(3, 'in', tcpFlags.fin | tcpFlags.ack);
    expect(await left()).toBe(0);
    expect((await gather(controller.connections())).length).toBe(3);
  });

  test('has the connections left that have not ended among more than can be listed every second', async () => {
    // A plane that counts, as ebpf does.
    controller = {
      ...controller,
      connectionCounts: async () => (await gather(memory.connections())).map((like) => ({ like, count: 1 })),
    };
    await put(yaml({ web1: '10.0.0.1:80' }));
    const virtual = { protocol: 'tcp', address: id.address, port: 80 } as const;
    const [clients, ports, closed] = [11, 10_000, 40_000];
    const each = (most: number, say: (at: { address: Address; port: number }) => void) => {
      for (let i = 0; i < Math.min(most, clients * ports); i++)
        say({ address: `203.0.113.${Math.floor(i / ports)}` as Address, port: 1 + (i % ports) });
    };
    each(Number.POSITIVE_INFINITY, (at) => {
      memory.packet(at, virtual, { direction: 'in', bytes: 40, flags: tcpFlags.syn });
    });
    each(closed, (at) => {
      memory.packet(at, virtual, { direction: 'out', bytes: 40, flags: tcpFlags.rst });
    });
    await ask('web1', 'drain', { yes: true });
    expect((await listOverrides(controller, wanted))[0]!.connections).toBe(clients * ports - closed);
  });
});

describe('names', () => {
  const two = `${yaml(three)}  - { name: mail, address: '192.0.2.10:25', realServers: [{ name: web1, address: 10.0.0.1 }, { name: mx, address: 10.0.0.5 }] }\n`;

  test('are of a service and a real server, or of a real server wherever it is; or addresses', async () => {
    await put(two);
    for (const [text, meant] of [
      ['web1', ['web/web1', 'mail/web1']],
      ['mail/web1', ['mail/web1']],
      ['10.0.0.1', ['web/web1', 'mail/web1']],
      ['10.0.0.1:25', ['mail/web1']],
      ['tcp 192.0.2.10:80/10.0.0.2:80', ['web/web2']],
      ['192.0.2.10/10.0.0.1:80', ['web/web1']],
    ] as const)
      expect(
        (await ask(text, 'ready')).map(({ service, realServer }) => `${service}/${realServer}`),
        text,
      ).toEqual(meant);
  });

  test('that are unknown are told with those that are near', async () => {
    await put(two);
    for (const [text, message, hint] of [
      ['wbe1', 'Cannot find "wbe1": no virtual service has real server "wbe1"', 'did you mean "web1"?'],
      ['wep/web1', 'Cannot find "wep/web1": there is no virtual service "wep"', 'did you mean "web/web1"?'],
      [
        'mail/mxx',
        'Cannot find "mail/mxx": "mail" has no real server "mxx", but web1, mx',
        'did you mean "mail/mx"?',
      ],
      ['mail', 'Cannot find "mail": it is a virtual service, with web1, mx', 'did you mean "mail/web1"?'],
      [
        '10.9.9.9',
        'Cannot find "10.9.9.9": no virtual service has real server "10.9.9.9"',
        /headgate get services/,
      ],
    ] as const)
      await expect(ask(text, 'drain')).rejects.toMatchObject({
        code: 'HG_UNKNOWN_NAME',
        message,
        hint: typeof hint === 'string' ? hint : expect.stringMatching(hint),
      });
  });
});

describe('the file of decisions', () => {
  test('outlives the plane, with what it is about', async () => {
    await put(yaml(three));
    await ask('web1', 'maintenance', { reason: 'new disk' });
    rmSync(join(folder, 'plane'), { recursive: true });
    memory = openMemoryPlane();
    controller = { ...memory, directory: join(folder, 'plane') };
    await put(yaml(three));
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1 });
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1 });
  });

  test('is the one before when writing it is cut off, and is never taken for empty', async () => {
    await put(yaml(three));
    await ask('web1', 'maintenance');
    const path = join(folder, 'state', 'overrides.json');
    const whole = readFileSync(path, 'utf8');
    writeFileSync(`${path}.new`, '{"version":1,"over');
    await put(yaml({ ...three, web4: '10.0.0.4:80' }));
    expect(await weights()).toEqual({ 1: 0, 2: 2, 3: 1, 4: 1 });
    for (const length of [0, 1, whole.length >> 1, whole.length - 3]) {
      writeFileSync(path, whole.slice(0, length));
      const change = changeAtRuntime(controller, [
        { kind: 'edit-destination', id, destination: member(1, 1) },
      ]);
      await expect(change).rejects.toMatchObject({ code: 'HG_STATE' });
      await expect(put(yaml(three))).rejects.toMatchObject({ code: 'HG_STATE' });
    }
    expect(await weights()).toMatchObject({ 1: 0 });
    writeFileSync(path, whole);
    await ask('web1', 'ready');
    expect(await weights()).toEqual({ 1: 3, 2: 2, 3: 1, 4: 1 });
  });

  test('is not written where nobody has decided anything', async () => {
    await put(yaml(three));
    await changeAtRuntime(controller, [{ kind: 'edit-destination', id, destination: member(1, 1) }]);
    expect(readdirSync(join(folder, 'plane'))).toEqual(['applied.json']);
    expect(readdirSync(join(folder, 'state'))).toEqual(['generations']);
  });

  test('and the table agree again, wherever a change was stopped', async () => {
    for (const state of ['drain', 'ready'] as const)
      for (const stopped of ['before the table was changed', 'after']) {
        rmSync(folder, { recursive: true });
        memory = openMemoryPlane();
        controller = { ...memory, directory: join(folder, 'plane') };
        await put(yaml(three));
        await changeAtRuntime(controller, [{ kind: 'edit-destination', id, destination: member(1, 7) }]);
        if (state === 'ready') await ask('web1', 'drain');
        const killed: Controller = {
          ...controller,
          async apply(operations) {
            if (stopped === 'after') await memory.apply(operations);
            throw new Error('killed');
          },
        };
        const request = { realServer: 'web1', state, by: 'anna', yes: false } as const;
        await expect(changeOverrides(killed, wanted, request, new Date(0))).rejects.toThrow('killed');
        // What the next process finds is a decision that was written, or one that was not taken back.
        await put(yaml({ ...three, web4: '10.0.0.4:80' }));
        expect(await weights(), `${state}, ${stopped}`).toEqual({ 1: 0, 2: 2, 3: 1, 4: 1 });
        await ask('web1', 'ready');
        expect(await weights(), `${state}, ${stopped}`).toEqual({ 1: 7, 2: 2, 3: 1, 4: 1 });
      }
  });

  test('is as it was when the plane refuses the change', async () => {
    await put(yaml(three));
    const refusing: Controller = {
      ...controller,
      apply: async (operations) => operations.map(() => ({ reason: 'table-full', detail: 'it is full' })),
    };
    const request = { realServer: 'web1', state: 'drain', by: 'anna', yes: false } as const;
    await expect(changeOverrides(refusing, wanted, request, new Date(0))).rejects.toMatchObject({
      code: 'HG_APPLY_REFUSED',
    });
    expect([readOverrides(controller), await weights()]).toEqual([[], { 1: 3, 2: 2, 3: 1 }]);
  });
});
