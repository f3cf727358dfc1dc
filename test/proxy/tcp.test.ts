import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gather } from '../../src/model/connection-batches.ts';
import { add, type Client, edit, memberOf, openSite, type Site, until } from './site.ts';

let site: Site;
beforeEach(() => {
  site = openSite({ connectTimeoutMs: 2000 });
});
afterEach(() => site.close());

describe('TCP through the proxy plane', () => {
  test('serves by the scheduler, newest destination first, and counts', async () => {
    const id = await site.service();
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one), add(id, two));
    const clients: Client[] = [];
    for (let i = 0; i < 4; i++) clients.push(await site.client(id));
    const names = await Promise.all(clients.map((client) => client.line()));
    // IPVS puts a new destination at the head of its list, and rr starts there.
    expect(names).toEqual(['two', 'one', 'two', 'one']);
    clients[0]!.socket.write('12345');
    await until(() => expect(clients[0]!.text()).toBe('two\n12345'));
    const state = await site.destination(id, two);
    expect(state).toMatchObject({ activeConnections: 2, inactiveConnections: 0 });
    expect(state.counters).toMatchObject({ connections: 2n, bytesIn: 5n, bytesOut: 13n });
    const rows = await gather(site.plane.connections());
    expect(rows).toHaveLength(4);
    const { localAddress, localPort } = clients[0]!.socket;
    expect(rows).toContainEqual({
      protocol: 'tcp',
      client: { address: localAddress, port: localPort },
      virtual: { address: id.address, port: id.port },
      destination: { address: two.address, port: two.port },
      state: 'ESTABLISHED',
      active: true,
      template: false,
      expiresInMs: expect.toSatisfy((left: number) => left > 895_000 && left <= 900_000),
    });
  });

  test('carries each direction to its own end', async () => {
    const id = await site.service();
    const server = await site.server('', (socket) => {
      const digest = createHash('sha256');
      socket.on('data', (chunk) => digest.update(chunk));
      // The answer begins when the client's side has ended: what half-closing is for.
      socket.on('end', () => socket.end(digest.digest('hex')));
    });
    await site.change(add(id, server));
    const client = await site.client(id);
    const bytes = Buffer.alloc(5_000_000, 'headgate');
    client.socket.end(bytes);
    expect(await client.ended).toBe('end');
    expect(client.text()).toBe(createHash('sha256').update(bytes).digest('hex'));
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 0,
      inactiveConnections: 0,
      counters: { bytesIn: 5_000_000n, bytesOut: 64n },
    });
  });

  test('a connection of which one side has ended is inactive', async () => {
    const id = await site.service();
    const server = await site.server('');
    await site.change(add(id, server));
    const client = await site.client(id);
    await client.line();
    server.sockets[0]!.unpipe();
    client.socket.end();
    await until(async () => {
      expect(await site.destination(id, server)).toMatchObject({
        activeConnections: 0,
        inactiveConnections: 1,
      });
    });
    expect(await gather(site.plane.connections())).toMatchObject([{ state: 'CLOSE_WAIT', active: false }]);
  });

  test.each(['client', 'server'] as const)('stops reading while the %s does not', async (slow) => {
    const id = await site.service();
    let accepted: Socket | undefined;
    const server = await site.server('', (socket) => {
      accepted = socket;
    });
    await site.change(add(id, server));
    const client = await site.client(id);
    await until(() => expect(accepted).toBeDefined());
    const [reader, writer] = slow === 'client' ? [client.socket, accepted!] : [accepted!, client.socket];
    reader.pause();
    const total = 64 * 1024 * 1024;
    writer.end(Buffer.alloc(total));
    const carried = async () => {
      const { counters } = await site.destination(id, server);
      return Number(slow === 'client' ? counters.bytesOut : counters.bytesIn);
    };
    let before = -1;
    await until(async () => {
      const now = await carried();
      const still = now === before && now > 0;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(still).toBe(true);
    });
    // Both kernels' socket buffers were filled, and no more.
    expect(before).toBeLessThan(total / 2);
    let received = 0;
    reader.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    reader.resume();
    await once(reader, 'end');
    expect(received).toBe(total);
    expect(await carried()).toBe(total);
  });

  test('weight 0 keeps connections and takes no new ones', async () => {
    const id = await site.service();
    const server = await site.server('only');
    await site.change(add(id, server));
    const before = await site.client(id);
    await before.line();
    await site.change(edit(id, server, { weight: 0 }));
    const after = await site.client(id);
    expect(await after.ended).toBe('ECONNRESET');
    expect(site.plane.failures().noDestination).toBe(1);
    before.socket.write('still here');
    await until(() => expect(before.text()).toBe('only\nstill here'));
  });

  test.each(['destination', 'service'] as const)('deleting a %s resets its connections', async (what) => {
    const id = await site.service();
    const [goes, stays] = [await site.server('goes'), await site.server('stays')];
    await site.change(add(id, stays), add(id, goes));
    const client = await site.client(id);
    expect(await client.line()).toBe('goes');
    const reset = once(goes.sockets[0]!, 'error');
    await site.change(
      what === 'service'
        ? { kind: 'delete-service', id }
        : { kind: 'delete-destination', id, destination: { address: goes.address, port: goes.port } },
    );
    expect(await client.ended).toBe('ECONNRESET');
    expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' });
    expect(await gather(site.plane.connections())).toEqual([]);
    const next = await site.client(id);
    if (what === 'service') expect(await next.ended).toBe('ECONNREFUSED');
    else expect(await next.line()).toBe('stays');
  });

  test('a deleted destination that comes back has its counters', async () => {
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server));
    await (await site.client(id)).line();
    const { address, port } = server;
    await site.change({ kind: 'delete-destination', id, destination: { address, port } }, add(id, server));
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 0,
      counters: { connections: 1n },
    });
  });

  test('a destination at its upper threshold rests until it is below the lower one', async () => {
    const id = await site.service();
    const [small, large] = [await site.server('small'), await site.server('large')];
    await site.change(add(id, large), add(id, small, { upperThreshold: 2, lowerThreshold: 1 }));
    const clients: Client[] = [];
    for (let i = 0; i < 6; i++) clients.push(await site.client(id));
    const names = await Promise.all(clients.map((client) => client.line()));
    expect(names).toEqual(['small', 'large', 'small', 'large', 'large', 'large']);
    clients[0]!.socket.destroy();
    await until(async () => expect((await site.destination(id, small)).activeConnections).toBe(1));
    expect(await (await site.client(id)).line()).toBe('large');
    clients[2]!.socket.destroy();
    await until(async () => expect((await site.destination(id, small)).activeConnections).toBe(0));
    expect(await (await site.client(id)).line()).toBe('small');
  });

  test('persistence keeps a client with its destination, weight 0 or not', async () => {
    const id = await site.service({ persistence: { timeoutSeconds: 60, netmask: 0xffffff00 } });
    const [one, two] = [await site.server('one'), await site.server('two')];
    await site.change(add(id, one), add(id, two));
    const names = [];
    for (let i = 0; i < 3; i++) names.push(await (await site.client(id)).line());
    await site.change(edit(id, two, { weight: 0 }));
    names.push(await (await site.client(id)).line());
    expect(names).toEqual(['two', 'two', 'two', 'two']);
    expect(await site.destination(id, two)).toMatchObject({ persistentConnections: 1, activeConnections: 4 });
    // ip_vs_state_name: once a real server has answered the template is ASSURED.
    expect(await gather(site.plane.connections())).toContainEqual(
      expect.objectContaining({
        client: { address: '127.0.0.0', port: 0 },
        template: true,
        state: 'ASSURED',
      }),
    );
    await site.change({ kind: 'delete-destination', id, destination: memberOf(id, two) });
    expect(await (await site.client(id)).line()).toBe('one');
  });

  test('a real server that does not answer costs the client its connection, and is counted', async () => {
    const id = await site.service();
    const server = await site.server('gone');
    server.listening.close();
    await once(server.listening, 'close');
    await site.change(add(id, server));
    expect(await (await site.client(id)).ended).toBe('ECONNRESET');
    expect(site.plane.failures().connectFailed).toBe(1);
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 0,
      counters: { connections: 1n },
    });
  });

  test.each(['client', 'server'] as const)('a reset by the %s reaches the other side', async (first) => {
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server));
    const client = await site.client(id);
    await client.line();
    const other = first === 'client' ? server.sockets[0]! : client.socket;
    const failed = once(other, 'error');
    (first === 'client' ? client.socket : server.sockets[0]!).resetAndDestroy();
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' });
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
  });

  test('connections idle for the TCP timeout are reset', async () => {
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server), { kind: 'set-timeouts', timeouts: { tcp: 1 } });
    const client = await site.client(id);
    await client.line();
    const start = performance.now();
    expect(await client.ended).toBe('ECONNRESET');
    expect(performance.now() - start).toBeGreaterThan(800);
    expect((await site.plane.read()).timeouts).toEqual({ tcp: 1, tcpFin: 120, udp: 300 });
  });

  test('IPv6 is carried as IPv4 is', async () => {
    const id = await site.service({ host: '::1' });
    const server = await site.server('six', undefined, '::1');
    await site.change(add(id, server));
    expect(await (await site.client(id)).line()).toBe('six');
  });
});

describe('A full table', () => {
  test('refuses and counts, and takes again what fits', async () => {
    await site.close();
    site = openSite({ connections: 2 });
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server));
    const [first] = [await site.client(id), await site.client(id)];
    const third = await site.client(id);
    expect(await third.ended).toBe('ECONNRESET');
    expect(site.plane.failures().tableFull).toBe(1);
    first.socket.destroy();
    await until(async () => expect(await gather(site.plane.connections())).toHaveLength(1));
    expect(await (await site.client(id)).line()).toBe('one');
    expect((await site.plane.read()).connectionTableSize).toBe(2);
  });
});
