import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import type { Failures } from '../../src/dataplane/userspace/admission.ts';
import { gather } from '../../src/model/connection-batches.ts';
import { add, loopback, openSite, type Site, until } from './site.ts';

let site: Site;
let child: ChildProcess | undefined;
afterEach(async () => {
  await site.close();
  child?.kill('SIGKILL');
  child = undefined;
});

/** Sends one datagram from each of `count` ports, ten at a time, so that the kernel drops none. */
async function storm(port: number, count: number): Promise<() => void> {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = createSocket('udp4');
    sockets.push(socket);
    socket.send('x', port, '127.0.0.1');
    await once(socket, 'listening');
    if (i % 10 === 9) await sleep(5);
  }
  return () => {
    for (const socket of sockets) socket.close();
  };
}

const datagramSockets = () => process.getActiveResourcesInfo().filter((name) => name === 'UDPWrap').length;

describe('A storm of clients that send one datagram', () => {
  test('takes the room of the table and no more, and gives it back', async () => {
    site = openSite({ connections: 50 });
    const id = await site.service({ protocol: 'udp' });
    const web = await site.service();
    await site.change(add(id, await site.datagramServer('one')), add(web, await site.server('web')), {
      kind: 'set-timeouts',
      timeouts: { udp: 2 },
    });
    const before = datagramSockets();
    const end = await storm(id.port, 300);
    await until(() => expect(site.plane.failures().tableFull).toBe(250));
    expect(await gather(site.plane.connections())).toHaveLength(50);
    expect(datagramSockets()).toBeLessThanOrEqual(before + 300 + 50);
    end();
    expect(await (await site.client(web)).ended).toBe('ECONNRESET');
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    await until(() => expect(datagramSockets()).toBe(before));
    expect(await (await site.client(web)).line()).toBe('web');
    expect(await (await site.datagramClient(id)).ask('y')).toBe('one y');
  });

  test('of which each datagram is scheduled on its own leaves the clients there are their sockets', async () => {
    site = openSite({ connections: 2 });
    const id = await site.service({ protocol: 'udp', onePacket: true });
    await site.change(add(id, await site.datagramServer('one')), add(id, await site.datagramServer('two')));
    const client = await site.datagramClient(id);
    const replies = [];
    for (let i = 0; i < 2; i++) replies.push(await client.ask('x'));
    const end = await storm(id.port, 4);
    await until(() => expect(site.plane.failures().tableFull).toBe(4));
    // The table is full, and this client's sockets to both servers are in it.
    for (let i = 0; i < 2; i++) replies.push(await client.ask('x'));
    end();
    expect(replies).toEqual(['two x', 'one x', 'two x', 'one x']);
  });
});

test('With few file descriptors the table is as large as they allow, and says so', async () => {
  site = openSite();
  const server = await site.server('one');
  const program = `
    import { gather } from '${new URL('../../src/model/connection-batches.ts', import.meta.url)}';
    import { openProxyPlane } from '${new URL('../../src/dataplane/proxy/plane.ts', import.meta.url)}';
    import { parseAddress } from '${new URL('../../src/model/address.ts', import.meta.url)}';
    import { createServer } from 'node:net';
    const plane = openProxyPlane();
    const address = parseAddress('127.0.0.1');
    const probe = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => probe.once('listening', resolve));
    const { port } = probe.address();
    await new Promise((resolve) => probe.close(resolve));
    const id = { kind: 'address', protocol: 'tcp', address, port };
    const refusals = await plane.apply([
      { kind: 'add-service', service: { id, scheduler: 'rr', schedulerFlags: {}, onePacket: false } },
      { kind: 'add-destination', id, destination: { address, port: ${server.port}, method: 'masquerade', weight: 1,
        upperThreshold: 0, lowerThreshold: 0 } },
    ]);
    const size = (await plane.read()).connectionTableSize;
    console.log(JSON.stringify({ refusals, port, size }));
    process.stdin.on('data', async () => {
      console.log(JSON.stringify({ failures: plane.failures(), rows: (await gather(plane.connections())).length }));
    });`;
  const node = [process.execPath, '--import', import.meta.resolve('tsx'), '--input-type=module', '-e'];
  child = spawn('bash', ['-c', 'ulimit -n 200; exec "$@"', 'bash', ...node, program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const told = async () => JSON.parse((await lines.next()).value as string);
  const { port, size } = (await told()) as { port: number; size: number };
  // 64 are kept for the process; a connection takes two of the rest.
  expect(size).toBe(68);
  const report = async (): Promise<{ failures: Failures; rows: number }> => {
    child!.stdin!.write('?');
    return told();
  };
  const virtual = { address: loopback('127.0.0.1'), port };
  const clients = await Promise.all(Array.from({ length: 150 }, () => site.client(virtual)));
  await until(async () => {
    expect(await report()).toEqual({
      rows: size,
      failures: {
        ...{ tableFull: 150 - size, connectFailed: 0, acceptFailed: 0 },
        ...{ noDestination: 0, datagramsDropped: 0 },
      },
    });
  });
  for (const { socket } of clients) socket.destroy();
  await until(async () => expect(await report()).toMatchObject({ rows: 0 }));
  expect(await (await site.client(virtual)).line()).toBe('one');
});
