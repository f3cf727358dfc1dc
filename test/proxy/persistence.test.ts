import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gather } from '../../src/model/connection-batches.ts';
import { startScheduler } from '../../src/model/schedulers/by-name.ts';
import { add, edit, loopback, memberOf, openSite, type Site, until } from './site.ts';

let site: Site;
beforeEach(() => {
  site = openSite();
});
afterEach(() => site.close());

const wholeAddress = 0xffffffff;
const persistent = (timeoutSeconds: number, netmask = wholeAddress) => ({
  persistence: { timeoutSeconds, netmask },
});

describe('Persistence in the proxy plane', () => {
  test('is of one client with one service: another client or port is scheduled for itself', async () => {
    const [one, two] = [await site.server('one'), await site.server('two')];
    const [first, second] = [await site.service(persistent(60)), await site.service(persistent(60))];
    await site.change(add(first, one), add(first, two), add(second, two), add(second, one));
    const ask = async (id: typeof first, from: string) => (await site.client(id, from)).line();
    // rr begins at the newest destination; every second line is a client that was there before.
    const names = [
      await ask(first, '127.0.0.1'),
      await ask(first, '127.0.0.1'),
      await ask(first, '127.0.0.2'),
      await ask(first, '127.0.0.2'),
      await ask(second, '127.0.0.1'),
      await ask(second, '127.0.0.1'),
    ];
    expect(names).toEqual(['two', 'two', 'one', 'one', 'one', 'one']);
    // Templates bear the client without its port (ip_vs_sched_persist).
    const templates = (await gather(site.plane.connections())).filter(({ template }) => template);
    expect(templates.map(({ client, virtual }) => [client.address, client.port, virtual.port])).toEqual([
      ['127.0.0.1', 0, first.port],
      ['127.0.0.2', 0, first.port],
      ['127.0.0.1', 0, second.port],
    ]);
  });

  test('the netmask joins clients; the scheduler sees the one that came first as it is', async () => {
    const servers = [];
    for (const name of ['a', 'b', 'c']) servers.push({ name, ...(await site.server(name)) });
    const id = await site.service({ scheduler: 'sh', ...persistent(60, 0xffffff00) });
    await site.change(...servers.map((server) => add(id, server)));
    const views = servers.toReversed().map(({ address, port }) => ({
      ...{ address, port, weight: 1, lastWeight: 1, active: 0, total: 0 },
      ...{ overloaded: false, available: true },
    }));
    const reference = startScheduler('sh', views, 4);
    const chosen = (source: string) =>
      views[
        reference.choose(views, {
          packet: {
            ...{ source: loopback(source), sourcePort: 0, inverse: false },
            ...{ destination: id.address, destinationPort: id.port },
          },
          flags: { flag1: false, flag2: false, flag3: false },
          nowMs: 0,
          random: () => 0,
        })!
      ]!.port;
    const hosts = Array.from({ length: 200 }, (_, i) => `127.0.0.${i + 1}`);
    const from = hosts.find((host) => chosen(host) !== chosen('127.0.0.0'))!;
    const other = hosts.find((host) => chosen(host) !== chosen(from))!;
    const wanted = servers.find(({ port }) => port === chosen(from))!.name;
    expect(await (await site.client(id, from)).line()).toBe(wanted);
    expect(await (await site.client(id, other)).line()).toBe(wanted);
  });

  test('a template lasts from the last new connection on, and then the client is scheduled anew', async () => {
    const id = await site.service(persistent(2));
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one), add(id, two));
    const ask = async () => {
      const client = await site.client(id);
      const name = await client.line();
      client.socket.destroy();
      return name;
    };
    const names = [];
    for (let i = 0; i < 4; i++) {
      names.push(await ask());
      await sleep(700);
    }
    expect(names).toEqual(['two', 'two', 'two', 'two']);
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    expect(await ask()).toBe('one');
  });

  test('one whose time is up lives on by the minute while a connection does (ip_vs_conn_expire)', async () => {
    const id = await site.service(persistent(1));
    const server = await site.server('one');
    await site.change(add(id, server));
    const client = await site.client(id);
    await client.line();
    const expiresInMs = async () =>
      (await gather(site.plane.connections())).find(({ template }) => template)?.expiresInMs ?? 0;
    await until(async () => expect(await expiresInMs()).toBeGreaterThan(50_000));
    // The minute has taken the place of the service's timeout, for new connections too.
    await (await site.client(id)).line();
    expect(await expiresInMs()).toBeGreaterThan(50_000);
    expect(await site.destination(id, server)).toMatchObject({ persistentConnections: 1 });
  });

  test('holds a UDP client, whatever its port', async () => {
    const id = await site.service({ protocol: 'udp', ...persistent(60) });
    await site.change(add(id, await site.datagramServer('one')), add(id, await site.datagramServer('two')));
    const replies = [];
    for (let i = 0; i < 3; i++) replies.push(await (await site.datagramClient(id)).ask('x'));
    expect(replies).toEqual(['two x', 'two x', 'two x']);
  });

  test('templates take room in the table', async () => {
    await site.close();
    site = openSite({ connections: 3 });
    const id = await site.service(persistent(60));
    await site.change(add(id, await site.server('one')));
    await (await site.client(id)).line();
    await (await site.client(id)).line();
    expect(await gather(site.plane.connections())).toHaveLength(3);
    expect(await (await site.client(id)).ended).toBe('ECONNRESET');
    expect(site.plane.failures().tableFull).toBe(1);
  });

  test('with room for a connection and none for its template, neither is made', async () => {
    await site.close();
    site = openSite({ connections: 1 });
    const id = await site.service({ ...persistent(60) });
    await site.change(add(id, await site.server('one')));
    expect(await (await site.client(id)).ended).toBe('ECONNRESET');
    expect(await gather(site.plane.connections())).toEqual([]);
  });
});

describe('Thresholds in the proxy plane', () => {
  test('count UDP clients, which are never active', async () => {
    const id = await site.service({ protocol: 'udp' });
    const [small, large] = [await site.datagramServer('small'), await site.datagramServer('large')];
    await site.change(add(id, large), add(id, small, { upperThreshold: 1 }));
    const replies = [];
    for (let i = 0; i < 3; i++) replies.push(await (await site.datagramClient(id)).ask('x'));
    expect(replies).toEqual(['small x', 'large x', 'large x']);
    expect(await site.destination(id, small)).toMatchObject({ activeConnections: 0, inactiveConnections: 1 });
  });

  test('count connections of which one side has ended', async () => {
    const id = await site.service();
    const [small, large] = [
      await site.server('small', (socket) => socket.write('small\n')),
      await site.server('large'),
    ];
    await site.change(add(id, large), add(id, small, { upperThreshold: 1 }));
    const client = await site.client(id);
    expect(await client.line()).toBe('small');
    client.socket.end();
    await until(async () =>
      expect(await site.destination(id, small)).toMatchObject({
        activeConnections: 0,
        inactiveConnections: 1,
      }),
    );
    expect(await (await site.client(id)).line()).toBe('large');
    expect(await (await site.client(id)).line()).toBe('large');
  });

  test('that are edited hold at once, and a persistent client passes them', async () => {
    const id = await site.service(persistent(60));
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one), add(id, two));
    const from = (host: string) => site.client(id, host).then((client) => client.line());
    expect(await from('127.0.0.1')).toBe('two');
    await site.change(edit(id, two, { upperThreshold: 1 }));
    expect(await from('127.0.0.2')).toBe('one');
    expect(await from('127.0.0.3')).toBe('one');
    expect(await from('127.0.0.1')).toBe('two');
    await site.change(edit(id, two, { upperThreshold: 0 }));
    expect([await from('127.0.0.4'), await from('127.0.0.5')].sort()).toEqual(['one', 'two']);
    await site.change({ kind: 'delete-destination', id, destination: memberOf(id, one) });
    expect(await from('127.0.0.2')).toBe('two');
  });
});
