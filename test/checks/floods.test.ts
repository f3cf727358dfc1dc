import { readFileSync } from 'node:fs';
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { authorityIn, type Identity } from './certificates.ts';
import { serverFolder } from './server.ts';
import { peer } from './site.ts';
import { bad, good } from './verdict.ts';

/*
 * Servers that misbehave below or within a protocol that Node speaks for us: whatever they do the check ends with its time,
 * or before, with a reason; and what they send is not kept.
 */

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function serving(behave: (socket: Socket) => void): Promise<number> {
  const one = await peer(behave);
  closing.push(one.close);
  return one.port;
}

/** Writes as long as the other side reads. */
function flood(socket: Socket | TLSSocket, chunk: Uint8Array): void {
  const more = (): void => {
    while (socket.writable && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}

/** What this process holds; what a test leaves to collect does not count. */
function heldMiB(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

describe('HTTP/2', () => {
  /** RFC 9113, 4.1: length, type, flags, stream, payload. */
  function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  }
  const types = { data: 0, headers: 1, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, continuation: 9 };
  const settings = frame(types.settings, 0, 0);
  /** `:status: 200` of the static table (RFC 7541, appendix A). */
  const status200 = frame(types.headers, 4, 1, Buffer.of(0x88));
  /** A field of 200 bytes that is not put into the table. */
  const field = Buffer.concat([Buffer.of(0x00, 1, 0x78, 127, 73), Buffer.alloc(200, 0x79)]);
  const error = (code: number) => Buffer.of(0, 0, 0, code);
  const keys = { type: 'http', version: 'HTTP/2', timeout: '2s', maxBody: '64Ki' } as const;

  /** After its preface, so that what is said is about the answer. */
  const answering = (answer: Uint8Array, andThen: (socket: Socket) => void = () => {}) =>
    serving((socket) => {
      socket.once('data', () => {
        socket.write(Buffer.concat([settings, answer]));
        andThen(socket);
      });
    });

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing but its settings', Buffer.alloc(0), /^expect: no answer within 500ms$/],
    [
      'a header without an end',
      frame(types.headers, 0, 1, Buffer.of(0x88)),
      /^expect: no answer within 500ms$/,
    ],
    ['a body that does not come', status200, /^expect: no answer within 500ms$/],
    ['a stream that is reset', frame(types.reset, 0, 1, error(2)), /^expect: HTTP\/2: .*INTERNAL_ERROR/],
    [
      'the end of the session',
      frame(types.goaway, 0, 0, Buffer.concat([error(0), error(11)])),
      /^expect: the server ends the session: enhance your calm$/,
    ],
    ['a page nobody asked for', frame(types.push, 4, 1, Buffer.of(0, 0, 0, 2, 0x88)), /^expect: /],
    ['a body before its header', frame(types.data, 0, 1, Buffer.from('body')), /^expect: /],
    ['a frame longer than it may be', frame(types.data, 0, 1, Buffer.alloc(20_000)), /^expect: /],
    ['a frame of no stream', frame(types.headers, 4, 0, Buffer.of(0x88)), /^expect: /],
    [
      'a field that is none',
      frame(types.headers, 4, 1, Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff)),
      /^expect: /,
    ],
  ])('%s', async (_, answer, reason) => {
    expect(await bad({ ...keys, timeout: '500ms' }, await answering(answer))).toMatch(reason);
  });

  test.each<[string, Uint8Array]>([
    ['pings', frame(types.ping, 0, 0, Buffer.alloc(8))],
    ['settings', settings],
    ['continuations', frame(types.continuation, 0, 1, field)],
    ['frames of an unknown kind', frame(200, 0, 0, Buffer.alloc(1000))],
  ])('%s without end', async (name, one) => {
    const start = name === 'continuations' ? frame(types.headers, 0, 1, Buffer.of(0x88)) : Buffer.alloc(0);
    const port = await answering(start, (socket) => flood(socket, Buffer.concat(Array(200).fill(one))));
    const before = heldMiB();
    expect(await bad(keys, port)).toMatch(/^expect: /);
    expect(heldMiB() - before).toBeLessThan(200);
  });

  test('a body without end is read as far as is wanted', async () => {
    const server = createHttp2Server();
    server.on('stream', (stream: ServerHttp2Stream) => {
      stream.on('error', () => {});
      stream.respond({ ':status': 200 });
      const more = (): void => {
        while (!stream.destroyed && stream.write(Buffer.alloc(16_384, 'x')));
      };
      stream.on('drain', more);
      more();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => new Promise((resolve) => server.close(() => resolve())));
    const { port } = server.address() as AddressInfo;
    expect(await good(keys, port)).toBe('200');
    expect(await bad({ ...keys, contains: 'y' }, port)).toMatch(
      /^expect: first 65536 bytes of the body without "y"/,
    );
  });
});

describe('below TLS', () => {
  /** A record of a handshake (RFC 8446, 5.1) with so many bytes of it. */
  const record = (length: number) =>
    Buffer.concat([Buffer.of(22, 3, 3, length >> 8, length & 255), Buffer.alloc(length, 2)]);

  test.each(['tls', 'https'] as const)('%s: a handshake of one byte now and then', async (type) => {
    const timers = new Set<NodeJS.Timeout>();
    const port = await serving((socket) => {
      const whole = record(16_000);
      let sent = 0;
      const timer = setInterval(() => socket.write(whole.subarray(sent, ++sent)), 10);
      timers.add(timer);
      socket.once('close', () => clearInterval(timer));
    });
    expect(await bad({ type, timeout: '400ms' }, port)).toBe('tls: no answer within 400ms');
    for (const timer of timers) clearInterval(timer);
  });

  test.each(['tls', 'https', 'imap', 'ldap'] as const)('%s: no TLS, without end', async (type) => {
    const port = await serving((socket) => flood(socket, Buffer.alloc(65_536, 'no TLS\r\n')));
    const transport = type === 'imap' || type === 'ldap' ? { transport: 'tls' } : {};
    const before = heldMiB();
    expect(await bad({ type, ...transport }, port)).toBe('tls: the server answers without TLS');
    expect(heldMiB() - before).toBeLessThan(200);
  });

  test.each(['tls', 'https'] as const)('%s: records of a handshake without end', async (type) => {
    const port = await serving((socket) => flood(socket, record(16_000)));
    const before = heldMiB();
    expect(await bad({ type, timeout: '1s' }, port)).toMatch(/^tls: /);
    expect(heldMiB() - before).toBeLessThan(200);
  });
});

requires('openssl')('within TLS', () => {
  const folder = serverFolder();
  let identity: Identity;
  beforeAll(() => {
    identity = authorityIn(folder.path).sign('www.example.org', 90);
  });
  afterAll(folder.remove);

  /** The port of a server that behaves so once the handshake is over. */
  async function secure(behave: (socket: TLSSocket) => void): Promise<number> {
    const sockets = new Set<TLSSocket>();
    const server = createTlsServer(
      { key: readFileSync(identity.key), cert: readFileSync(identity.certificate) },
      (socket) => {
        sockets.add(socket);
        socket.on('error', () => socket.destroy());
        behave(socket);
      },
    );
    server.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    });
    return (server.address() as AddressInfo).port;
  }

  test('silence, half a close, and a reset after the handshake', async () => {
    const keys = { type: 'https', timeout: '500ms' } as const;
    expect(await bad(keys, await secure(() => {}))).toBe('expect: no answer within 500ms');
    expect(await bad(keys, await secure((socket) => socket.end()))).toMatch(
      /^(send|expect): connection closed (without an answer|by the server)$/,
    );
    expect(await bad(keys, await secure((socket) => socket.destroy()))).toMatch(
      /^(send|expect): connection (reset|closed)/,
    );
  });

  test('a header line of 64 KiB, and a body without end', async () => {
    const line = `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(65_536)}\r\n\r\n`;
    expect(
      await bad({ type: 'https' }, await secure((socket) => socket.once('data', () => socket.write(line)))),
    ).toBe('expect: a line of more than 16384 bytes');
    const endless = await secure((socket) =>
      socket.once('data', () => {
        socket.write('HTTP/1.0 200 OK\r\n\r\n');
        flood(socket, Buffer.alloc(16_384, 'x'));
      }),
    );
    expect(await good({ type: 'https', expiryWarning: '0s' }, endless)).toBe('200 OK');
  });

  test('a server that offers no HTTP/2', async () => {
    const port = await secure(() => {});
    expect(await bad({ type: 'https', version: 'HTTP/2' }, port)).toBe(
      'tls: the server does not offer HTTP/2',
    );
  });
});
