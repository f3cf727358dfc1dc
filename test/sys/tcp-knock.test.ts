import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Door, knock } from '../../src/sys/tcp-knock.ts';

const hosts = {
  '127.0.0.1': Buffer.of(127, 0, 0, 1),
  '::1': Buffer.concat([Buffer.alloc(15), Buffer.of(1)]),
};
const servers: Server[] = [];
/** How connections ended, as the servers saw it. */
const ends: string[] = [];

/** The port of a server, and one where nobody listens. */
async function listen(host: string): Promise<{ open: number; closed: number }> {
  const [one, other] = [createServer(), createServer()];
  one.on('connection', (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code ?? ''));
    socket.on('end', () => ends.push('end')).resume();
  });
  for (const server of [one, other]) await new Promise<void>((done) => server.listen(0, host, done));
  const [open, closed] = [one, other].map((server) => (server.address() as AddressInfo).port) as [
    number,
    number,
  ];
  await new Promise((done) => other.close(done));
  servers.push(one);
  return { open, closed };
}

const knocked = (door: Door, source?: Uint8Array): Promise<string> =>
  new Promise((resolve) => {
    knock(door, source, (failure) => resolve(failure?.code ?? 'stood'));
  });
const descriptors = (): number => readdirSync('/proc/self/fd').length;

const ports = new Map<string, { open: number; closed: number }>();
beforeAll(async () => {
  for (const host of Object.keys(hosts)) ports.set(host, await listen(host));
});
afterAll(() => {
  for (const server of servers) server.close();
});

test.each(Object.entries(hosts))(
  'a socket that has knocked knocks again, wherever (%s)',
  async (host, address) => {
    const { open, closed } = ports.get(host)!;
    // The descriptor of epoll stays.
    await knocked({ address, port: open });
    await expect.poll(() => ends).toEqual(['ECONNRESET']);
    const before = descriptors();
    const all: Promise<string>[] = [];
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 10; i++) {
        all.push(knocked({ address, port: open }), knocked({ address, port: closed }));
        all.push(knocked({ address, port: open }, address));
      }
      await Promise.all(all);
    }
    const said = await Promise.all(all);
    expect(said.filter((_, i) => i % 3 !== 1).every((one) => one === 'stood')).toBe(true);
    expect(said.filter((_, i) => i % 3 === 1).every((one) => one === 'ECONNREFUSED')).toBe(true);
    // Every one was reset, whoever made it, and none waits for its time.
    await expect.poll(() => ends.length).toBe(801);
    expect(ends.every((one) => one === 'ECONNRESET')).toBe(true);
    const waiting = new RegExp(`:${open.toString(16).toUpperCase().padStart(4, '0')} 06 `);
    for (const name of ['tcp', 'tcp6'])
      expect(readFileSync(`/proc/net/${name}`, 'utf8')).not.toMatch(waiting);
    // Sockets that nobody needs are closed.
    await expect.poll(descriptors, { timeout: 10_000 }).toBeLessThanOrEqual(before);
    ends.length = 0;
  },
);

test('one that is ended on its way says nothing, and its socket is not another one’s', async () => {
  const { open } = ports.get('127.0.0.1')!;
  const address = hosts['127.0.0.1'];
  const heard: string[] = [];
  for (let i = 0; i < 100; i++) {
    const one = knock({ address, port: open }, undefined, () => heard.push('ended'));
    one.close();
    one.close();
    one.look();
    expect(await knocked({ address, port: open })).toBe('stood');
    one.close();
  }
  expect(heard).toEqual([]);
});
