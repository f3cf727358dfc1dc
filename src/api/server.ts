import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { z } from 'zod';
import { type Address, parseAddress } from '../model/address.ts';
import type { ConnectionBatches, ConnectionFilter } from '../model/connection-batches.ts';
import { type ErrorCode, HeadgateError } from '../model/errors.ts';
import type { HandOverRequest } from '../model/hand-over.ts';
import type { MoveRequest } from '../model/move.ts';
import type { Outlook } from '../model/outlook.ts';
import type { OverrideRequest, OverrideStatus } from '../model/override.ts';
import type { Question } from '../model/question.ts';
import type { Observed, Operation, Refusal } from '../model/table.ts';
import type { Totals } from '../model/totals.ts';
import type { ServiceId } from '../model/virtual-service.ts';
import { namesTagWeakly, quoted } from './etag.ts';
import { type EventFeed, eventsAnswer, openFollowers, wantsStream } from './event-stream.ts';
import { metricsType } from './metrics.ts';
import { sendRows } from './rows.ts';
import { requests } from './schema.ts';
import { targetOf } from './target.ts';
import { toWire } from './wire.ts';

/** An answer, with the tag of the rules it was true of. */
export type Tagged<T> = { readonly tag: string; readonly value: T };

/**
 * What is served: a controller, and the daemon around it. `expected` is an If-Match header: what would change the rules
 * rejects with HG_CHANGED where they are others. `by` is the program that has it done.
 */
export type Served = ServedHistory & {
  readonly read: () => Promise<Tagged<Observed>>;
  readonly apply: (
    operations: readonly Operation[],
    by: string,
    expected?: string,
  ) => Promise<Tagged<readonly (Refusal | undefined)[]>>;
  readonly connections: (filter: ConnectionFilter) => ConnectionBatches;
  /** These two: undefined where the data plane does not say. */
  readonly totals: () => Promise<Totals | undefined>;
  readonly outlook: (
    id: ServiceId | undefined,
    addresses: readonly Address[],
  ) => Promise<Outlook | undefined>;
  /** What `GET /v1/diagnosis` answers: what is wrong with this host. Undefined where the data plane does not say. */
  readonly diagnosis: () => Promise<object | undefined>;
  /** What `GET /v1/report` answers: how every service and real server stands. */
  readonly report: () => Promise<object>;
  /** What `GET /v1/summary` answers: the same summed up. */
  readonly summary: () => Promise<object>;
  /** What `POST /v1/describe` answers: everything about what is called so. */
  readonly describe: (name: string) => Promise<object>;
  /** What `POST /v1/explain` answers: what becomes of a client, and why. */
  readonly explain: (question: Question) => Promise<object>;
  /** What `GET /v1/status` answers. */
  readonly status: () => Promise<Tagged<object>>;
  /** What `GET /metrics` answers. */
  readonly metrics: () => Promise<string>;
  /** Puts the configuration in force as it is in the file now. */
  readonly reload: (
    order: { readonly dropRuntimeChanges: boolean; readonly yes: boolean },
    expected?: string,
  ) => Promise<Tagged<object>>;
  /** What `GET /v1/checks` answers: how everybody stands who is checked. */
  readonly checks: () => Promise<object>;
  /** What `POST /v1/check` answers: what the checks of a real server find now. */
  readonly check: (name: string) => Promise<object>;
  /** What `POST /v1/failover` answers: what handing addresses over comes to, and with `yes` it is done. */
  readonly failover: (request: HandOverRequest) => Promise<object>;
  /** What `POST /v1/migrate` answers: what a move to the other data plane comes to, and with `yes` it is done. */
  readonly migrate: (request: MoveRequest) => Promise<object>;
  /** What people have decided about real servers. */
  readonly overrides: () => Promise<readonly OverrideStatus[]>;
  /** Takes real servers out or puts them back; resolves to what they are then. */
  readonly override: (request: OverrideRequest) => Promise<readonly OverrideStatus[]>;
};

/** The part of it that is about what happened before. */
export type ServedHistory = {
  readonly events: EventFeed;
  /** What `GET /v1/history` answers. */
  readonly history: () => object;
  /** What `GET /v1/history/N` answers. Throws HG_GENERATION. */
  readonly generation: (generation: number) => object;
  /** Puts an earlier generation in force again. */
  readonly rollback: (order: {
    readonly generation: number;
    readonly dropRuntimeChanges: boolean;
    readonly yes: boolean;
  }) => Promise<object>;
};

/** Bytes a request may have: a million operations take less. */
const mostBytes = 512 * 1024 * 1024;
const smallBytes = 64 * 1024;
const requestTimeoutMs = 60_000;
/** How often somebody whose answer takes long hears that it is being made. */
const underWayEveryMs = 10_000;
/** Who is still being answered when the daemon ends has this long. */
const farewellMs = 1000;
/** Until a request's headers are there; a client that is slower is cut off, as is one whose body takes too long. */
const headersTimeoutMs = 10_000;
const patienceCheckedEveryMs = 1_000;
/** Connections at a time; further ones are closed at once. */
const mostConnections = 256;

/**
 * Serves the control API on a unix socket that only its owner may open; a socket that a dead process left is taken
 * over, so the caller must hold the instance's lock. Rejects with HG_SOCKET when it cannot listen.
 */
export async function serveApi(
  path: string,
  served: Served,
  { everyMs = underWayEveryMs } = {},
): Promise<{ close(): Promise<void> }> {
  const followers = openFollowers(served.events);
  const times = {
    requestTimeout: requestTimeoutMs,
    headersTimeout: headersTimeoutMs,
    connectionsCheckingInterval: patienceCheckedEveryMs,
  };
  const server = createServer(times, (request, response) => {
    try {
      if (wantsStream(request)) {
        followers.follow(request, response);
        return;
      }
    } catch (error) {
      sendError(response, error);
      return;
    }
    const underWay = setInterval(() => tellUnderWay(request, response), everyMs);
    answer(served, request, response)
      .finally(() => clearInterval(underWay))
      .then((value) => response.headersSent || send(response, 200, value))
      .catch((error) => (response.headersSent ? response.destroy() : sendError(response, error)));
  });
  server.maxConnections = mostConnections;
  rmSync(path, { force: true });
  await listen(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        const farewell = setTimeout(() => server.closeAllConnections(), farewellMs);
        server.close(() => {
          clearTimeout(farewell);
          resolve();
        });
        followers.close();
        server.closeIdleConnections();
      }),
  };
}

/** 102 (RFC 2518, section 10.1): the request was taken, and its answer is to come. HTTP/1.0 has no such thing (RFC 9110, section 15.2). */
function tellUnderWay({ httpVersion }: IncomingMessage, response: ServerResponse): void {
  if (!response.headersSent && httpVersion !== '1.0') response.writeProcessing();
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // From the first moment on: between listen and a chmod anybody could connect.
    const umask = process.umask(0o177);
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        new HeadgateError('HG_SOCKET', `Cannot listen on "${path}": ${error.code ?? error.message}`, {
          cause: error,
        }),
      );
    });
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve();
    });
    process.umask(umask);
  });
}

/** A path or method that is not served. */
class NotServed extends Error {}

/** The client has the answer already. */
const notModified = Symbol('not modified');

type Answer = (served: Served, request: IncomingMessage, response: ServerResponse) => Promise<unknown>;

/** Everything that is served, by method and path. */
const routes: Readonly<Record<string, Answer>> = {
  'GET /metrics': async (served, _request, response) => {
    response.setHeader('content-type', metricsType);
    return Buffer.from(await served.metrics());
  },
  'GET /v1/status': async (served, ...exchange) => tagged(await served.status(), ...exchange),
  'GET /v1/table': async (served, ...exchange) => tagged(await served.read(), ...exchange),
  'GET /v1/connections': (served, request, response) =>
    sendRows(response, 'connections', served.connections(filterOf(request.url))),
  'GET /v1/diagnosis': async (served) => (await served.diagnosis()) ?? null,
  'GET /v1/report': async (served, _request, response) => plainJson(await served.report(), response),
  'GET /v1/summary': (served) => served.summary(),
  'POST /v1/describe': async (served, request) =>
    served.describe((await body(request, requests.describe, smallBytes)).name),
  'POST /v1/explain': async (served, request) =>
    served.explain(await body(request, requests.explain, smallBytes)),
  'POST /v1/operations': async (served, request, response) => {
    const { operations } = await body(request, requests.operations, mostBytes);
    const refusals = tagged(
      await served.apply(operations, clientOf(request), request.headers['if-match']),
      request,
      response,
    );
    return { refusals: refusals.map((refusal) => refusal ?? null) };
  },
  'GET /v1/totals': async (served) => (await served.totals()) ?? null,
  'POST /v1/outlook': async (served, request) => {
    const { service, addresses } = await body(request, requests.outlook, mostBytes);
    return (await served.outlook(service, addresses)) ?? null;
  },
  'GET /v1/events': async (served, { url }) => eventsAnswer(served.events, url),
  'GET /v1/history': async (served) => served.history(),
  'POST /v1/rollback': async (served, request) =>
    served.rollback(await body(request, requests.rollback, smallBytes)),
  'POST /v1/reload': async (served, request, response) => {
    const order = await body(request, requests.reload, smallBytes);
    return tagged(await served.reload(order, request.headers['if-match']), request, response);
  },
  'GET /v1/checks': (served) => served.checks(),
  'POST /v1/check': async (served, request) =>
    served.check((await body(request, requests.check, smallBytes)).realServer),
  'POST /v1/failover': async (served, request) =>
    served.failover(await body(request, requests.failover, smallBytes)),
  'POST /v1/migrate': async (served, request) =>
    served.migrate(await body(request, requests.migrate, smallBytes)),
  'GET /v1/overrides': async (served) => ({ overrides: await served.overrides() }),
  'POST /v1/overrides': async (served, request) => ({
    overrides: await served.override(await body(request, requests.overrides, smallBytes)),
  }),
};

/** The value of an answer, whose tag goes to the head. */
function tagged<T>(
  { tag, value }: Tagged<T>,
  { headers, method }: IncomingMessage,
  response: ServerResponse,
): T {
  response.setHeader('etag', quoted(tag));
  const known = headers['if-none-match'];
  if (method === 'GET' && known !== undefined && namesTagWeakly(known, tag)) throw notModified;
  return value;
}

async function answer(served: Served, request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  const name = `${request.method} ${targetOf(request.url).path}`;
  const generation = /^GET \/v1\/history\/([1-9]\d{0,14})$/.exec(name)?.[1];
  if (generation !== undefined) return served.generation(Number(generation));
  if (!Object.hasOwn(routes, name)) throw new NotServed(name);
  return routes[name]!(served, request, response);
}

/** Which of our programs asks; `API` for any other. */
function clientOf({ headers }: IncomingMessage): string {
  return /^headgate\/([a-z-]{1,20})$/.exec(headers['user-agent'] ?? '')?.[1] ?? 'API';
}

async function body<S extends z.ZodType>(
  request: IncomingMessage,
  schema: S,
  most: number,
): Promise<z.output<S>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > most)
      throw new HeadgateError(
        'HG_REQUEST',
        `Cannot take the request: wanted at most ${most} bytes, found more`,
      );
    chunks.push(chunk as Buffer);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text === '' ? '{}' : text);
  } catch {
    throw new HeadgateError('HG_REQUEST', 'Cannot read the request: wanted JSON');
  }
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const where = issue!.path.map(String).join('.') || 'request';
  throw new HeadgateError('HG_REQUEST', `Cannot read the request: ${where}: ${issue!.message}`);
}

/** The connections a request is for: `?client=ADDRESS`, any number of times. */
function filterOf(url: string | undefined): ConnectionFilter {
  const { query } = targetOf(url);
  const clients = [...query].map(([name, text]) => {
    const address = name === 'client' ? parseAddress(text) : undefined;
    if (address !== undefined) return address;
    throw new HeadgateError(
      'HG_REQUEST',
      `Cannot read the request: wanted client=ADDRESS, found "${name}=${text}"`,
    );
  });
  return clients.length > 0 ? { clients } : {};
}

/** A large answer of plain values, as bytes: what travels in another form is looked for at each of a million values. */
function plainJson(value: object, response: ServerResponse): Buffer {
  response.setHeader('content-type', 'application/json');
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Sends JSON; bytes as they are, of the type that the head names. */
function send(response: ServerResponse, status: number, value: unknown): void {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(`${toWire(value)}\n`);
  if (bytes !== value) response.setHeader('content-type', 'application/json');
  response.writeHead(status, { 'content-length': bytes.length });
  response.end(bytes);
}

/** Where it is not 409. */
const statusOf: Partial<Record<ErrorCode, number>> = {
  HG_REQUEST: 400,
  HG_GENERATION: 404,
  HG_CHANGED: 412,
  HG_FOLLOWERS: 503,
};

function sendError(response: ServerResponse, error: unknown): void {
  if (error === notModified) {
    response.writeHead(304).end();
    return;
  }
  if (error instanceof NotServed) {
    send(response, 404, {
      error: { code: 'HG_REQUEST', message: `Cannot answer ${error.message}: there is no such request` },
    });
    return;
  }
  if (error instanceof HeadgateError) {
    const { code, message, hint, problems } = error;
    send(response, statusOf[code] ?? 409, { error: { code, message, hint, problems } });
    return;
  }
  send(response, 500, { error: { message: error instanceof Error ? error.message : String(error) } });
}
