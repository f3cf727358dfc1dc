import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gather } from '../../src/model/connection-batches.ts';
import type { DestinationId } from '../../src/model/virtual-service.ts';
import { add, freePort, loopback, memberOf, openSite, type Site, serviceOf, until } from './site.ts';

let site: Site;
let children: ChildProcess[] = [];
beforeEach(() => {
  site = openSite();
});
afterEach(async () => {
  await site.close();
  for (const child of children) child.kill('SIGKILL');
  children = [];
});

/** The sockets this process holds, once those that are being closed are gone. */
async function held(): Promise<Record<string, number>> {
  await sleep(50);
  const counts: Record<string, number> = { TCPSocketWrap: 0, TCPServerWrap: 0, UDPWrap: 0 };
  for (const name of process.getActiveResourcesInfo()) if (name in counts) counts[name]!++;
  return counts;
}

/**
 * A real server whose queue of connections is full, so that the next ones are not answered: it sleeps for `asleepMs`,
 * then echoes. Linux sends SYN again after one second and after three.
 */
async function sleepingServer(asleepMs: number): Promise<DestinationId & { fillers: Socket[] }> {
  const script = `const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, server.address().port + '\\n');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${asleepMs});
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const port = Number(line);
  const fillers = Array.from({ length: 4 }, () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    return socket;
  });
  await sleep(100);
  expect(fillers.some(({ connecting }) => connecting)).toBe(true);
  return { address: loopback('127.0.0.1'), port, fillers };
}

describe('While the real server is being connected', () => {
  test('one that does not answer in time costs the client its connection, there or not', async () => {
    await site.close();
    site = openSite({ connectTimeoutMs: 600 });
    const server = await sleepingServer(60_000);
    const id = await site.service();
    await site.change(add(id, server));
    const before = await held();
    const [stays, leaves] = [await site.client(id), await site.client(id)];
    await until(async () =>
      expect((await gather(site.plane.connections())).map(({ state }) => state)).toEqual([
        'SYN_RECV',
        'SYN_RECV',
      ]),
    );
    leaves.socket.resetAndDestroy();
    expect(await stays.ended).toBe('ECONNRESET');
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    expect(site.plane.failures().connectFailed).toBe(2);
    expect(await site.plane.outcomes!()).toMatchObject([{ answered: 0, refused: 0, unanswered: 2 }]);
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 0,
      inactiveConnections: 0,
    });
    await until(async () => expect(await held()).toEqual(before));
    for (const filler of server.fillers) filler.destroy();
  });

  test('what a client sends and ends arrives when the connection stands, and one that left leaves nothing', async () => {
    const server = await sleepingServer(1500);
    const id = await site.service();
    await site.change(add(id, server));
    const before = await held();
    const [ends, leaves] = [await site.client(id), await site.client(id)];
    ends.socket.end('said before anybody listened');
    await until(async () => expect(await gather(site.plane.connections())).toHaveLength(2));
    leaves.socket.resetAndDestroy();
    expect(await ends.ended).toBe('end');
    expect(ends.text()).toBe('said before anybody listened');
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    await until(async () => expect(await held()).toEqual({ ...before, TCPSocketWrap: expect.any(Number) }));
    for (const filler of server.fillers) filler.destroy();
  });

  test('a deleted destination resets the clients that wait for it', async () => {
    const server = await sleepingServer(60_000);
    const id = await site.service();
    await site.change(add(id, server));
    const client = await site.client(id);
    await until(async () => expect(await gather(site.plane.connections())).toHaveLength(1));
    await site.change({ kind: 'delete-destination', id, destination: memberOf(id, server) });
    expect(await client.ended).toBe('ECONNRESET');
    expect(site.plane.failures().connectFailed).toBe(0);
    for (const filler of server.fillers) filler.destroy();
  });
});

describe('Every way out', () => {
  test('a reader slower than the timeout of an ended connection still gets all of it', async () => {
    const id = await site.service();
    const bytes = Buffer.alloc(1_000_000, 'headgate');
    const server = await site.server('', (socket) => socket.end(bytes));
    await site.change(add(id, server), { kind: 'set-timeouts', timeouts: { tcpFin: 1 } });
    const client = await site.client(id);
    client.socket.pause();
    await until(async () =>
      expect(await gather(site.plane.connections())).toMatchObject([{ state: 'FIN_WAIT' }]),
    );
    // The entry has gone by now, and with it this side's sockets.
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    client.socket.resume();
    expect(await client.ended).toBe('end');
    expect(client.text()).toHaveLength(bytes.length);
  });

  test('a connection cut off on the way to an answer is reset, so that nobody takes half of it for all', async () => {
    const id = await site.service();
    const server = await site.server('', (socket) => socket.write('half'));
    await site.change(add(id, server));
    const client = await site.client(id);
    await until(() => expect(client.text()).toBe('half'));
    client.socket.end();
    await until(async () =>
      expect(await gather(site.plane.connections())).toMatchObject([{ state: 'CLOSE_WAIT' }]),
    );
    await site.change({ kind: 'delete-destination', id, destination: memberOf(id, server) });
    expect(await client.ended).toBe('ECONNRESET');
  });

  test('sockets, table and counts are as before, however connections ended', async () => {
    const id = await site.service();
    const server = await site.server('one');
    await site.change(add(id, server));
    const before = await held();
    const ends: ((socket: Socket, there: Socket) => void)[] = [
      (socket) => socket.end(),
      (socket) => socket.destroy(),
      (socket) => socket.resetAndDestroy(),
      (_socket, there) => there.end(),
      (_socket, there) => there.destroy(),
      (_socket, there) => there.resetAndDestroy(),
      (socket, there) => {
        socket.resetAndDestroy();
        there.resetAndDestroy();
      },
      (socket, there) => {
        socket.end('x'.repeat(100_000));
        there.destroy();
      },
    ];
    for (let round = 0; round < 5; round++) {
      for (const end of ends) {
        const client = await site.client(id);
        // Half-closed on both sides, as sockets are unless asked otherwise: an end is answered with an end.
        client.socket.on('end', () => client.socket.end());
        await client.line();
        const there = server.sockets.at(-1)!;
        end(client.socket, there);
      }
    }
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    expect(await site.destination(id, server)).toMatchObject({
      activeConnections: 0,
      inactiveConnections: 0,
      counters: { connections: BigInt(5 * ends.length) },
    });
    await until(async () => expect(await held()).toEqual(before));
  });

  test('nothing is opened by operations that were under way when the plane was closed', async () => {
    const before = await held();
    const ports = [await freePort('127.0.0.1'), await freePort('127.0.0.1')];
    const services = ports.map((port) =>
      serviceOf({ kind: 'address', protocol: 'tcp', address: loopback('127.0.0.1'), port }),
    );
    const applied = site.plane.apply(services.map((service) => ({ kind: 'add-service', service })));
    await site.plane.close();
    expect(await applied).toEqual([undefined, undefined]);
    await until(async () => expect(await held()).toEqual(before));
  });

  test.each(['tcp', 'udp'] as const)('a %s service that cannot listen holds nothing', async (protocol) => {
    const id = await site.service({ protocol });
    const other = openSite();
    const before = await held();
    const [refusal] = await other.plane.apply([{ kind: 'add-service', service: serviceOf(id) }]);
    expect(refusal?.detail).toContain('EADDRINUSE');
    await until(async () => expect(await held()).toEqual(before));
    await other.close();
  });
});

test('A process that has closed its plane ends', async () => {
  const program = `
    import { openProxyPlane } from '${new URL('../../src/dataplane/proxy/plane.ts', import.meta.url)}';
    import { parseAddress } from '${new URL('../../src/model/address.ts', import.meta.url)}';
    import { connect } from 'node:net';
    const plane = openProxyPlane();
    const address = parseAddress('127.0.0.1');
    const port = ${await freePort('127.0.0.1')};
    for (const protocol of ['tcp', 'udp'])
      await plane.apply([{ kind: 'add-service', service: { id: { kind: 'address', protocol, address, port },
        scheduler: 'rr', schedulerFlags: {}, onePacket: false } }]);
    const client = connect(port, '127.0.0.1').on('error', () => undefined);
    await new Promise((resolve) => client.once('close', resolve));
    await plane.close();
    console.log('closed');`;
  const args = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let text = '';
  child.stdout.on('data', (more) => {
    text += more;
  });
  const [code] = await once(child, 'close', { signal: AbortSignal.timeout(20_000) });
  expect([text, code]).toEqual(['closed\n', 0]);
});

/** So that a listener of the test itself does not count. */
test('What is held is seen', async () => {
  const before = await held();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  expect(await held()).toEqual({ ...before, TCPServerWrap: before.TCPServerWrap! + 1 });
  server.close();
});
