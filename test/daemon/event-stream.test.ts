import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FollowerLimits, followerLimits, openFollowers } from '../../src/api/event-stream.ts';
import { type EventLog, openEventLog } from '../../src/control/events.ts';
import { follow } from './follower.ts';

const limits: FollowerLimits = { followers: 4, heartbeatMs: 50, stallMs: 300 };

describe('a stream of events', () => {
  let folder: string;
  let path: string;
  let log: EventLog;
  let server: Server;
  let responses: ServerResponse[];
  let followers: ReturnType<typeof openFollowers>;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-stream-'));
    path = join(folder, 'socket');
    log = openEventLog(undefined, { now: () => new Date(0), failed: () => undefined });
    followers = openFollowers(log, limits);
    responses = [];
    server = createServer((request, response) => {
      responses.push(response);
      followers.follow(request, response);
    });
    await once(server.listen(path), 'listening');
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });

  const happen = (name: string) =>
    log.note({ kind: 'interface-attached', what: `takes packets of ${name}`, interface: name });
  /** A client that asks and then reads nothing. */
  const lazy = async () => {
    const socket = connect(path).pause();
    socket.on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nhost: here\r\nlast-event-id: 0\r\n\r\n');
    while (responses.length === 0) await sleep(5);
    return socket;
  };
  const closed = (response: ServerResponse) =>
    response.closed ? Promise.resolve() : once(response, 'close');

  it('is what the product uses with 64 followers, 15 s and 30 s', () =>
    expect(followerLimits).toEqual({ followers: 64, heartbeatMs: 15_000, stallMs: 30_000 }));

  it('has a sign of life where nothing happens', async () => {
    const follower = await follow(path);
    await expect.poll(() => follower.text()).toMatch(/^retry: \d+\n\n(: here\n\n){2,}$/);
    expect(follower.received()).toEqual([]);
    follower.cut();
  });

  it('keeps no more for a slow follower than its connection takes, and cuts it off when it takes nothing', async () => {
    const socket = await lazy();
    const [response] = responses as [ServerResponse];
    const long = 'x'.repeat(1500);
    let most = 0;
    const from = performance.now();
    for (let count = 0; count < 600; count++) {
      happen(long);
      most = Math.max(most, response.writableLength);
      if (count % 50 === 0) await sleep(1);
    }
    // A high-water mark of Node's and one event over it, of a MiB that happened.
    expect(most).toBeLessThan(64 * 1024);
    // Not before the limit, a heartbeat until it is looked at, and a second to read the farewell.
    await closed(response);
    expect(performance.now() - from).toBeGreaterThan(limits.stallMs - 100);
    // What was sent has come, and its place is free again.
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.resume();
    await once(socket, 'close');
    expect(text).toContain('event: interface-attached');
    const others = await Promise.all(Array.from({ length: limits.followers }, () => follow(path)));
    expect(others.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    for (const other of others) other.cut();
  });

  it('gives everything to a follower that is slow and not dead', async () => {
    const socket = await lazy();
    const long = 'x'.repeat(1500);
    for (let count = 0; count < 600; count++) happen(long);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    const reading = setInterval(() => (socket.isPaused() ? socket.resume() : socket.pause()), 20);
    const deadline = performance.now() + 20_000;
    while (!text.includes('id: 600\n') && performance.now() < deadline) await sleep(20);
    clearInterval(reading);
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(Array.from({ length: 600 }, (_one, index) => index + 1));
    socket.destroy();
  });

  it('ends with a reason where a follower reads too slowly for what is kept', async () => {
    const socket = await lazy();
    const long = 'x'.repeat(1900);
    // More than both halves of the log hold, while it reads nothing.
    for (let count = 0; count < 2500; count++) happen(long);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.resume();
    await once(socket, 'close');
    const reason = /event: cut-off\ndata: (\{.*\})\n\n/.exec(text)?.[1];
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    const { reason: said } = JSON.parse(reason!) as { reason: string };
    expect(said).toBe(`events ${ids.at(-1)! + 1} to ${log.oldest() - 1} went before they could be sent`);
  });

  it('tells its followers of the end, and ends properly', async () => {
    const follower = await follow(path);
    happen('eth0');
    followers.close();
    expect(await follower.ended).toEqual({ whole: true });
    expect(follower.received().map(({ event }) => event)).toEqual(['interface-attached', 'end']);
  });
});
