import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Daemon, startDaemon } from '../../src/daemon/run.ts';
import { noServiceManager } from '../../src/daemon/service-manager.ts';
import { openMemoryPlane } from '../../src/dataplane/memory/plane.ts';

/*
 * A whole daemon on the plane in memory, in this process: whatever it throws fails the run. What is served is what
 * docs/api.md says, so that a new request is tried as soon as it is described.
 */

const configuration = `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wlc
    method: masquerade
    realServers: [{ name: one, address: 10.0.0.1:80 }, { address: 10.0.0.2:80 }]
`;
const requests = [
  ...readFileSync(resolve(import.meta.dirname, '../../docs/api.md'), 'utf8').matchAll(
    /^\| `(GET|POST|PUT|DELETE|PATCH) (\/v1\/[^`?{\s]*)/gm,
  ),
].map(([, method, path]) => ({ method: method!, path: path! }));

let folder: string;
let daemon: Daemon;
let socketPath: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-fuzz-'));
  process.env.HEADGATE_STATE = join(folder, 'state');
  const file = join(folder, 'headgate.yaml');
  writeFileSync(file, configuration);
  socketPath = join(folder, 'control.sock');
  daemon = await startDaemon({
    file,
    version: '0',
    log: () => undefined,
    now: () => new Date(0),
    open: async () => ({ ...openMemoryPlane(), directory: join(folder, 'plane') }),
    socketPath: () => socketPath,
    manager: noServiceManager,
    stopForwarding: false,
  });
});
afterAll(async () => {
  await daemon.stop();
  rmSync(folder, { recursive: true });
  delete process.env.HEADGATE_STATE;
});

function ask(
  method: string,
  path: string,
  body: string | Buffer = '',
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { socketPath, method, path, headers: { 'content-length': Buffer.byteLength(body) }, timeout: 60_000 },
      (response) => {
        let text = '';
        response.on('data', (chunk) => {
          // An answer that goes on for ever, as of events, has begun: that is enough.
          text += chunk;
          if (/event-stream/.test(response.headers['content-type'] ?? '')) response.destroy();
        });
        response.on('close', () => resolve({ status: response.statusCode!, text }));
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${path} ${body}: no answer`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const isAlive = async () => expect((await ask('GET', '/v1/table')).status).toBe(200);

/** Asks, and holds what no request may bring about. */
async function judged(method: string, path: string, body: string | Buffer): Promise<number> {
  const { status, text } = await ask(method, path, body);
  const label = `${method} ${path} ${body}: ${text}`;
  expect([200, 400, 404, 405, 409, 412, 413], label).toContain(status);
  if (status !== 200 && text !== '') expect(JSON.parse(text).error.message, label).toBeTypeOf('string');
  return status;
}

const numRuns = process.env.LONG ? 5_000 : 300;

describe('the control API', () => {
  it('is described', () => {
    expect(requests.length).toBeGreaterThan(5);
    expect(requests).toContainEqual({ method: 'POST', path: '/v1/operations' });
  });

  it('answers any body with an answer or a refusal, never a fault', async () => {
    const body = fc.oneof(
      fc.json(),
      fc.string({ unit: 'binary' }),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.constantFrom(
        'null',
        '[]',
        '""',
        '1',
        '{"__proto__":{"x":1}}',
        '['.repeat(5000),
        '{"a":'.repeat(5000),
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...requests), body, async ({ method, path }, sent) => {
        await judged(method, path, sent);
      }),
      { numRuns },
    );
    await isAlive();
  });

  it('takes or refuses operations with any values, and keeps a table that can be read', async () => {
    const number = fc.oneof(
      fc.integer({ min: -2, max: 3 }),
      fc.integer(),
      fc.maxSafeInteger(),
      fc.constantFrom(80, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 0.5, '80', null, true),
    );
    const address = fc.oneof(
      fc.constantFrom(
        '192.0.2.10',
        '10.0.0.1',
        '10.0.0.2',
        '2001:db8::1',
        '::',
        '0.0.0.0',
        '224.0.0.1',
        'x',
        '',
        1,
      ),
      fc.ipV4(),
      fc.ipV6(),
      fc.string(),
    );
    const word = (...known: string[]) => fc.oneof(fc.constantFrom(...known), fc.string(), number);
    const id = fc.oneof(
      fc.constant({ kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 }),
      fc.record({ kind: word('address'), protocol: word('tcp', 'udp', 'sctp'), address, port: number }),
      fc.record({ kind: word('fwmark'), mark: number, family: number }),
      fc.anything(),
    );
    const flags = fc.record({ flag1: fc.boolean(), flag2: fc.boolean(), flag3: fc.boolean() });
    const service = fc.record(
      {
        id,
        scheduler: word('rr', 'wrr', 'mh', 'none'),
        schedulerFlags: flags,
        onePacket: fc.boolean(),
        persistence: fc.record({ timeoutSeconds: number, netmask: number, engine: word('sip') }),
      },
      { requiredKeys: ['id', 'scheduler', 'schedulerFlags', 'onePacket'] },
    );
    const destination = fc.record(
      {
        address,
        port: number,
        method: word('masquerade', 'direct-routing', 'tunnel'),
        weight: number,
        upperThreshold: number,
        lowerThreshold: number,
        tunnel: fc.record({ type: word('ipip', 'gue', 'gre'), port: number, checksum: word('none') }),
      },
      { requiredKeys: ['address', 'port', 'method', 'weight', 'upperThreshold', 'lowerThreshold'] },
    );
    const timeouts = fc.record({ tcp: number, tcpFin: number, udp: number }, { requiredKeys: [] });
    const operation = fc.oneof(
      fc.record({ kind: fc.constantFrom('add-service', 'edit-service'), service }),
      fc.record({ kind: fc.constantFrom('delete-service', 'zero'), id }),
      fc.record({
        kind: fc.constantFrom('add-destination', 'edit-destination', 'delete-destination'),
        id,
        destination,
      }),
      fc.record({ kind: fc.constant('set-timeouts'), timeouts }),
      fc.record({ kind: fc.constant('set-sysctls'), sysctls: fc.record({ pmtu_disc: number }) }),
      fc.record({ kind: fc.constant('flush') }),
      fc.anything(),
    );
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 4 }), async (operations) => {
        const body = JSON.stringify({ operations });
        if ((await judged('POST', '/v1/operations', body)) === 200) taken++;
        await judged(
          'POST',
          '/v1/outlook',
          JSON.stringify({ service: operations[0], addresses: ['10.0.0.1'] }),
        );
        expect((await ask('GET', '/v1/table')).status, body).toBe(200);
      }),
      { numRuns },
    );
    expect(taken).toBeGreaterThan(0);
    await judged('POST', '/v1/reload', '{"yes":true,"dropRuntimeChanges":true}');
    await isAlive();
  });

  it('lists the connections of the clients that are asked for, and takes no other word', async () => {
    expect(await ask('GET', '/v1/connections?client=192.0.2.1&client=2001:db8::1')).toEqual({
      status: 200,
      text: '{"connections":[\n\n]}\n',
    });
    for (const query of ['client=', 'client=192.0.2', 'client=192.0.2.1&limit=3', '%', 'clients=192.0.2.1'])
      expect(await ask('GET', `/v1/connections?${query}`), query).toMatchObject({ status: 400 });
  });

  it('explains by the names of the configuration what becomes of a client', async () => {
    const asked = (more: object) =>
      ask(
        'POST',
        '/v1/explain',
        JSON.stringify({
          client: { address: '203.0.113.9' },
          virtual: { address: '192.0.2.10', port: 80 },
          ...more,
        }),
      );
    await ask('POST', '/v1/reload', '{"yes":true,"dropRuntimeChanges":true}');
    const { status, text } = await asked({});
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({
      question: { protocol: 'tcp' },
      service: { name: 'web', address: 'tcp 192.0.2.10:80' },
      candidates: [{ name: 'one' }, { name: '10.0.0.2:80' }],
    });
    expect(JSON.parse((await asked({ protocol: 'udp' })).text)).not.toHaveProperty('service');
    for (const wrong of [{ virtual: { address: '192.0.2.10' } }, { mark: 2 ** 32 }, { mark: -1 }])
      expect(await asked(wrong), JSON.stringify(wrong)).toMatchObject({ status: 400 });
  });

  it('refuses any path and method it does not serve', async () => {
    const path = fc.oneof(
      fc.webPath(),
      fc.constantFrom(
        '//',
        '///v1/status',
        '/v1/../v1/status',
        '/v1/status/',
        '/%',
        '/v1/%2e%2e',
        '*',
        '/v1/table?a=b#c',
      ),
      fc.stringMatching(/^\/[!-~]{0,60}$/),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD'),
        path,
        async (method, at) => {
          const { status } = await ask(method, at);
          expect([200, 400, 404, 405, 409], `${method} ${at}`).toContain(status);
        },
      ),
      { numRuns },
    );
    await isAlive();
  });

  it('outlives bytes that are no HTTP, and clients that go away', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc
        .constantFrom(
          ...[
            'GET /v1/status HTTP/1.1\r\n',
            'POST /v1/operations HTTP/1.1\r\n',
            'Host: x\r\n',
            '\r\n',
            '0\r\n\r\n',
          ],
          ...[
            'Content-Length: 5\r\n',
            'Content-Length: -1\r\n',
            'Transfer-Encoding: chunked\r\n',
            'Upgrade: h2c\r\n',
          ],
          ...[
            'Expect: 100-continue\r\n',
            'Connection: upgrade\r\n',
            'ffffffffffffffffff\r\n',
            'CONNECT x:1 HTTP/1.1\r\n',
          ],
          `X: ${'y'.repeat(20_000)}\r\n`,
        )
        .map((text) => Buffer.from(text)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 8 }), fc.boolean(), async (pieces, abrupt) => {
        const socket = await connected();
        await new Promise<void>((done) => {
          socket.on('error', () => undefined).on('close', () => done());
          socket.resume();
          for (const bytes of pieces) socket.write(bytes);
          if (abrupt) socket.destroy();
          else socket.end();
          // What waits for more than was sent is ended from here.
          setTimeout(() => socket.destroy(), 50);
        });
      }),
      { numRuns: Math.min(numRuns, 500) },
    );
    await isAlive();
  });

  it('cuts off who is too slow, and goes on for others meanwhile', async () => {
    const slow = await Promise.all(Array.from({ length: 50 }, connected));
    const ended = slow.map((socket) => new Promise<void>((done) => socket.on('close', () => done())));
    for (const socket of slow)
      socket
        .on('error', () => undefined)
        .resume()
        .write('GET /v1/status HTTP/1.1\r\n');
    const trickle = setInterval(() => {
      for (const socket of slow) if (socket.writable) socket.write('X: y\r\n');
    }, 500);
    await isAlive();
    await Promise.all(ended);
    clearInterval(trickle);
    await isAlive();
  }, 60_000);

  it('has a bound for the connections at a time, and room again afterwards', async () => {
    const sockets = await Promise.all(Array.from({ length: 300 }, connected));
    const closed = sockets.map(
      (socket) =>
        new Promise<boolean>((done) => {
          socket
            .on('error', () => undefined)
            .on('close', () => done(true))
            .resume();
          setTimeout(() => done(false), 1_000);
        }),
    );
    const refused = (await Promise.all(closed)).filter(Boolean).length;
    for (const socket of sockets) socket.destroy();
    expect(refused).toBeGreaterThanOrEqual(300 - 256);
    expect(refused).toBeLessThan(300);
    await new Promise((done) => setTimeout(done, 200));
    await isAlive();
    expect(existsSync(socketPath)).toBe(true);
  });
});

function connected(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath, () => resolve(socket));
    socket.on('error', reject);
  });
}
