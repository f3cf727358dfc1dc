import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gather } from '../../src/model/connection-batches.ts';
import { add, edit, memberOf, openSite, type Site, until } from './site.ts';

let site: Site;
beforeEach(() => {
  site = openSite();
});
afterEach(() => site.close());

describe('UDP through the proxy plane', () => {
  test.each(['127.0.0.1', '::1'])('a client stays with its destination and is counted (%s)', async (host) => {
    const id = await site.service({ protocol: 'udp', host });
    const [one, two] = [await site.datagramServer('one', host), await site.datagramServer('two', host)];
    await site.change(add(id, one), add(id, two));
    const [a, b] = [await site.datagramClient(id), await site.datagramClient(id)];
    expect([await a.ask('1'), await b.ask('2'), await a.ask('333'), await b.ask('4')]).toEqual([
      'two 1',
      'one 2',
      'two 333',
      'one 4',
    ]);
    const state = await site.destination(id, two);
    // UDP is never active in IPVS.
    expect(state).toMatchObject({ activeConnections: 0, inactiveConnections: 1 });
    expect(state.counters).toEqual({
      connections: 1n,
      packetsIn: 2n,
      packetsOut: 2n,
      bytesIn: 4n,
      bytesOut: 12n,
    });
    expect(await gather(site.plane.connections())).toContainEqual(
      expect.objectContaining({
        protocol: 'udp',
        client: { address: host, port: a.socket.address().port },
        state: 'UDP',
        active: false,
      }),
    );
  });

  test('datagrams that come at once arrive in order', async () => {
    const id = await site.service({ protocol: 'udp' });
    await site.change(add(id, await site.datagramServer('one')));
    const client = await site.datagramClient(id);
    const replies: string[] = [];
    client.socket.on('message', (reply) => replies.push(String(reply)));
    const wanted = Array.from({ length: 20 }, (_, i) => `${i}`);
    for (const text of wanted) client.socket.send(text);
    await until(() => expect(replies).toHaveLength(20));
    expect(replies).toEqual(wanted.map((text) => `one ${text}`));
  });

  test('with one-packet scheduling every datagram is scheduled for itself', async () => {
    const id = await site.service({ protocol: 'udp', onePacket: true });
    await site.change(add(id, await site.datagramServer('one')), add(id, await site.datagramServer('two')));
    const client = await site.datagramClient(id);
    const replies = [];
    for (let i = 0; i < 4; i++) replies.push(await client.ask('x'));
    expect(replies).toEqual(['two x', 'one x', 'two x', 'one x']);
    const [service] = (await site.plane.read()).services;
    expect(service!.counters.connections).toBe(4n);
  });

  test('a flow expires after the UDP timeout, and the next datagram is scheduled anew', async () => {
    const id = await site.service({ protocol: 'udp' });
    await site.change(add(id, await site.datagramServer('one')), add(id, await site.datagramServer('two')), {
      kind: 'set-timeouts',
      timeouts: { udp: 1 },
    });
    const client = await site.datagramClient(id);
    expect(await client.ask('x')).toBe('two x');
    expect(await client.ask('x')).toBe('two x');
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]));
    expect(await client.ask('x')).toBe('one x');
  });

  test('a deleted destination loses its clients, weight 0 keeps them', async () => {
    const id = await site.service({ protocol: 'udp' });
    const [one, two] = [await site.datagramServer('one'), await site.datagramServer('two')];
    await site.change(add(id, one), add(id, two));
    const client = await site.datagramClient(id);
    expect(await client.ask('x')).toBe('two x');
    await site.change(edit(id, two, { weight: 0 }));
    expect(await client.ask('x')).toBe('two x');
    await site.change({ kind: 'delete-destination', id, destination: memberOf(id, two) });
    expect(await client.ask('x')).toBe('one x');
  });

  test('without a destination datagrams are dropped and counted', async () => {
    const id = await site.service({ protocol: 'udp' });
    const client = await site.datagramClient(id);
    client.socket.send('x');
    await until(() => expect(site.plane.failures().noDestination).toBe(1));
    expect(await gather(site.plane.connections())).toEqual([]);
  });

  test('a closed port at the real server ends the flow, and is counted', async () => {
    const id = await site.service({ protocol: 'udp' });
    const gone = await site.service({ protocol: 'udp' });
    await site.change({ kind: 'delete-service', id: gone }, add(id, gone));
    const client = await site.datagramClient(id);
    client.socket.send('x');
    await until(() => expect(site.plane.failures().connectFailed).toBe(1));
    expect(await gather(site.plane.connections())).toEqual([]);
  });

  test('a closed port heard of when the next datagram is sent ends the flow as well', async () => {
    const id = await site.service({ protocol: 'udp' });
    const gone = await site.service({ protocol: 'udp' });
    await site.change({ kind: 'delete-service', id: gone }, add(id, gone));
    const client = await site.datagramClient(id);
    for (let i = 0; i < 2; i++) client.socket.send('x');
    await until(() => expect(site.plane.failures().connectFailed).toBeGreaterThanOrEqual(1));
    await until(async () => expect(await gather(site.plane.connections())).toEqual([]), 1000);
  });

  test('a full table refuses the next client and keeps the ones it has', async () => {
    await site.close();
    site = openSite({ connections: 1 });
    const id = await site.service({ protocol: 'udp' });
    await site.change(add(id, await site.datagramServer('one')));
    const [first, second] = [await site.datagramClient(id), await site.datagramClient(id)];
    expect(await first.ask('x')).toBe('one x');
    second.socket.send('x');
    await until(() => expect(site.plane.failures().tableFull).toBe(1));
    expect(await first.ask('y')).toBe('one y');
  });

  test('any bytes of any length come back as they are', async () => {
    const id = await site.service({ protocol: 'udp' });
    await site.change(add(id, await site.datagramServer('')));
    const client = await site.datagramClient(id);
    for (const length of [0, 1, 1400, 9000, 60_000])
      expect(await client.ask('z'.repeat(length))).toBe(` ${'z'.repeat(length)}`);
    await sleep(0);
  });
});
