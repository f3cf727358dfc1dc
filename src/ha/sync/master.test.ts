import { expect, test } from 'vitest';
import type { ConnectionFeed } from '../../model/connection-feed.ts';
import type { SyncedConnection, SyncSettings } from '../../model/connection-sync.ts';
import { openMaster } from './master.ts';
import { decodeMessage } from './message.ts';
import { clearWire } from './wire.ts';

/*
 * When a connection is told. The clock is the test's own: a wait takes as long as it is asked to, unless something is to be read.
 */

const settings: SyncSettings = {
  ...{ role: 'master', interface: 'eth0', id: 7, group: '224.0.0.81' as SyncSettings['group'] },
  ...{ port: 8848, ttl: 1, maxLength: 1472 },
};

const connection = (clientPort: number): SyncedConnection => ({
  ...{ family: 4, protocol: 6, flags: 0, state: 1, fwmark: 0, timeoutSeconds: 900 },
  ...{ client: Buffer.from([10, 0, 0, 1]), clientPort },
  ...{ virtual: Buffer.from([192, 0, 2, 10]), virtualPort: 80 },
  ...{ real: Buffer.from([10, 0, 1, 1]), realPort: 80 },
});

/** A master with a plane that has these connections to tell of, by their client's port, and what it has said. */
function master(arriving: { atMs: number; port: number }[]) {
  let clockMs = 0;
  const said: { atMs: number; ports: number[] }[] = [];
  const due = () => arriving.filter(({ atMs }) => atMs <= clockMs);
  const feedFd = 3;
  const feed: ConnectionFeed = {
    ...{ fd: feedFd, begin: () => undefined, again: () => undefined, walk: () => false, lost: () => 0 },
    ...{ enter: () => 'refused', destinationsCame: () => false, isCurrent: () => true },
    ...{ end: () => undefined, close: () => undefined },
    drain(take) {
      const found = due();
      for (const one of found) {
        take(connection(one.port), 0);
        arriving.splice(arriving.indexOf(one), 1);
      }
      return found.length;
    },
  };
  const sender = {
    send(bytes: Uint8Array) {
      const message = decodeMessage(bytes);
      if (typeof message === 'string') throw new Error(message);
      said.push({ atMs: clockMs, ports: message.connections.map(({ clientPort }) => clientPort) });
      return true;
    },
    close: () => undefined,
  };
  const receiver = { fd: 4, source: () => '10.0.0.2', receive: () => undefined, close: () => undefined };
  const exchange = { senders: [sender], receivers: [receiver], maxLength: 1472, close: () => undefined };
  const wait = (fds: readonly number[], timeoutMs: number) => {
    const untilMs = clockMs + Math.max(0, timeoutMs);
    const next = Math.min(...arriving.map(({ atMs }) => atMs), Number.POSITIVE_INFINITY);
    const hears = fds.includes(feedFd) && next <= untilMs;
    clockMs = hears ? Math.max(clockMs, next) : untilMs;
    return hears;
  };
  const worker = openMaster(
    settings,
    feed,
    () => 256,
    exchange,
    clearWire,
    () => clockMs,
    wait,
  );
  return {
    said,
    run(untilMs: number) {
      while (clockMs < untilMs) worker.turn(1);
    },
  };
}

test('a connection is told in the moment it comes where nothing was told just before', () => {
  const { said, run } = master([
    { atMs: 1000.5, port: 1001 },
    { atMs: 1100, port: 1002 },
  ]);
  run(2000);
  expect(said).toEqual([
    { atMs: 1000.5, ports: [1001] },
    { atMs: 1100, ports: [1002] },
  ]);
});

test('what comes within ten milliseconds after a message goes out together, and within them', () => {
  const { said, run } = master([
    { atMs: 1000, port: 1001 },
    { atMs: 1001, port: 1002 },
    { atMs: 1003, port: 1003 },
  ]);
  run(2000);
  expect(said.map(({ ports }) => ports)).toEqual([[1001], [1002, 1003]]);
  expect(said[0]!.atMs).toBe(1000);
  expect(said[1]!.atMs).toBeLessThan(1010);
});
