import { setMaxListeners } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import type { CheckContext } from '../../src/checks/check.ts';
import { converse } from '../../src/checks/dialogue.ts';
import { runCheck } from '../../src/checks/run-check.ts';
import { parseAddress } from '../../src/model/address.ts';
import { checked, checkOf, loopback, peer, targetOf } from './site.ts';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function peerOf(...parameters: Parameters<typeof peer>) {
  const one = await peer(...parameters);
  closing.push(one.close);
  return one;
}

/** File descriptors of this process that are sockets to elsewhere. */
function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
}

function contextOf(port: number, signal = AbortSignal.timeout(5_000)): CheckContext {
  return { target: targetOf(port), signal, tell: () => {} };
}

test('a port that listens is good, one that does not is refused', async () => {
  const listening = await peerOf(() => {});
  expect((await checked({ type: 'tcp' }, listening.port)).result).toMatchObject({
    isGood: true,
    detail: 'connected',
  });
  await listening.close();
  expect((await checked({ type: 'tcp' }, listening.port)).result).toMatchObject({
    isGood: false,
    phase: 'connect',
    reason: 'connection refused',
  });
});

test('by IPv6, and from an address of its own', async () => {
  const froms: (string | undefined)[] = [];
  const six = await peerOf((socket) => froms.push(socket.remoteAddress), '::1');
  expect((await checked({ type: 'tcp' }, six.port, parseAddress('::1'))).result.isGood).toBe(true);
  const four = await peerOf((socket) => froms.push(socket.remoteAddress));
  expect((await checked({ type: 'tcp', source: '127.0.0.9' }, four.port)).result.isGood).toBe(true);
  expect(froms).toEqual(['::1', '127.0.0.9']);
  expect((await checked({ type: 'tcp', source: '192.0.2.1' }, four.port)).result).toMatchObject({
    reason: 'source address 192.0.2.1 is not an address of this host',
  });
});

test('a wait is ended where it is, and at once', async () => {
  const silent = await peerOf(() => {});
  const ending = new AbortController();
  const waiting = converse(contextOf(silent.port, ending.signal), {}, (line) => line.readLine());
  setTimeout(() => ending.abort(), 50);
  await expect(waiting).rejects.toMatchObject({ phase: 'expect', message: 'stopped' });
});

test('the caller ends it', async () => {
  const ending = new AbortController();
  ending.abort();
  const result = await runCheck(checkOf({ type: 'tcp' }), targetOf(9, loopback), { signal: ending.signal });
  expect(result).toMatchObject({ isGood: false, phase: 'connect', reason: 'stopped' });
});

test('nothing stays open, whatever happened', async () => {
  const silent = await peerOf(() => {});
  const ending = new AbortController();
  setMaxListeners(50, ending.signal);
  const waits = Array.from({ length: 20 }, () =>
    converse(contextOf(silent.port, ending.signal), {}, (line) => line.readLine()).catch((error) =>
      String(error),
    ),
  );
  await converse(contextOf(silent.port), {}, async () => {});
  await expect(
    converse(contextOf(silent.port), {}, () => Promise.reject(new Error('a fault'))),
  ).rejects.toThrow('a fault');
  ending.abort();
  await Promise.all(waits);
  await expect.poll(() => silent.open()).toBe(0);
  await expect.poll(openSockets).toBe(0);
});

test('a line has a bound, an end in the middle is told from one without an answer', async () => {
  const endless = await peerOf((socket) => socket.write('x'.repeat(100_000)));
  await expect(converse(contextOf(endless.port), {}, (line) => line.readLine())).rejects.toMatchObject({
    phase: 'expect',
    message: 'a line of more than 8192 bytes',
  });
  const middle = await peerOf((socket) => socket.end('220 hal'));
  await expect(converse(contextOf(middle.port), {}, (line) => line.readLine())).rejects.toMatchObject({
    message: 'connection closed in the middle of an answer',
  });
  const nothing = await peerOf((socket) => socket.end());
  await expect(converse(contextOf(nothing.port), {}, (line) => line.readLine())).rejects.toMatchObject({
    message: 'connection closed without an answer',
  });
  const reset = await peerOf((socket) => socket.resetAndDestroy());
  await expect(converse(contextOf(reset.port), {}, (line) => line.readLine())).rejects.toMatchObject({
    message: 'connection reset by the server',
  });
});

test('lines, bytes and the rest, and what is told of them', async () => {
  const told: string[] = [];
  const server = await peerOf((socket) => {
    socket.once('data', (data) => {
      socket.write(`you said ${data}`);
      for (const byte of 'two\nABCDEFrest') socket.write(byte);
      socket.once('end', () => socket.end(' and end'));
    });
  });
  const read = await converse(
    { ...contextOf(server.port), tell: ({ direction, text }) => told.push(`${direction} ${text}`) },
    {},
    async (line) => {
      await line.send('PASS hidden\r\n', 'PASS ***');
      const lines = [await line.readLine(), await line.readLine()];
      const bytes = [await line.readBytes(3), await line.readUntil('F', 10)];
      line.endSending();
      return [...lines, ...bytes.map(String), String((await line.readToEnd(100)).bytes)];
    },
  );
  expect(read).toEqual(['you said PASS hidden', 'two', 'ABC', 'DEF', 'rest and end']);
  expect(told[1]).toBe('sent PASS ***');
});
