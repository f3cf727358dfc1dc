import { type IncomingMessage, request } from 'node:http';
import type { Address } from '../model/address.ts';
import type { ConnectionBatches, ConnectionFilter } from '../model/connection-batches.ts';
import { type ErrorCode, errorCatalogue, HeadgateError, type Problem } from '../model/errors.ts';
import type { Event } from '../model/event.ts';
import type { HandOver, HandOverRequest } from '../model/hand-over.ts';
import type { Moved, MovePlan, MoveRequest } from '../model/move.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import type { Override, OverrideRequest, OverrideStatus } from '../model/override.ts';
import type { Question } from '../model/question.ts';
import type { Connection, Observed, Operation, Refusal } from '../model/table.ts';
import type { Totals } from '../model/totals.ts';
import type { ServiceId } from '../model/virtual-service.ts';
import { followEvents, type StreamEnd } from './follow.ts';
import { receiveRows } from './rows.ts';
import { refuseStrangers } from './trust.ts';
import { observedFromWire, outlookFromWire, totalsFromWire, toWire } from './wire.ts';

/** What a daemon says of itself. */
export type DaemonStatus = {
  readonly pid: number;
  readonly version: string;
  /** Which build of that version; absent where the daemon does not know, or is too old to say. */
  readonly build?: string | undefined;
  readonly startedAt: string;
  readonly dataPlane: {
    readonly name: 'ebpf' | 'ipvs' | 'proxy' | 'memory';
    readonly description: string;
    readonly ignores?: readonly ('persistence-engine' | 'when-gone' | 'maintenance-of-persistent')[];
  };
  readonly directory?: string;
  readonly configuration: {
    readonly file: string;
    readonly generation: number;
    readonly appliedAt: string;
    /** The generation that is in force again in place of what the file says; absent when the file counts. */
    readonly rolledBackTo?: number;
    /** Why the file as it is now is not in force; absent when it is. */
    readonly failure?: string;
  };
};

/** A running daemon, reached over its socket. */
export type Remote = {
  readonly status: DaemonStatus;
  read(): Promise<Observed>;
  apply(operations: readonly Operation[]): Promise<readonly (Refusal | undefined)[]>;
  connections(filter?: ConnectionFilter): ConnectionBatches;
  /** What its data plane has done in all; undefined where that does not say. */
  totals(): Promise<Totals | undefined>;
  outlook(id: ServiceId | undefined, addresses: readonly Address[]): Promise<Outlook>;
  /** What is wrong with the daemon's host; undefined where its data plane does not say. */
  diagnosis<T>(): Promise<T | undefined>;
  /** How every service and real server stands. */
  report<T>(): Promise<T>;
  /** The same summed up. */
  summary<T>(): Promise<T>;
  /** Everything about what is called so. Rejects with HG_UNKNOWN_NAME. */
  describe<T>(name: string): Promise<T>;
  /** What becomes of a client, and why. */
  explain<T>(question: Question): Promise<T>;
  reload(order: {
    readonly dropRuntimeChanges: boolean;
    readonly yes: boolean;
  }): Promise<{ generation: number; overrides: readonly Override[] }>;
  /** How everybody stands who is checked. */
  checks<T>(): Promise<T>;
  /** What the checks of a real server find now. Rejects with HG_UNKNOWN_NAME, HG_NO_CHECK. */
  check<T>(realServer: string): Promise<T>;
  /** What handing addresses over comes to; with `yes` it is done. Rejects with HG_FAILOVER. */
  failover(request: HandOverRequest): Promise<HandOver>;
  /** What a move to the other data plane comes to; with `yes` it is done. Rejects with HG_MOVE, HG_IPVS. */
  migrate(request: MoveRequest): Promise<Moved | (MovePlan & { readonly done: false })>;
  /** What people have decided about real servers. */
  overrides(): Promise<readonly (OverrideStatus & Override)[]>;
  override(request: OverrideRequest): Promise<readonly OverrideStatus[]>;
  /** Those after the one with number `since`, oldest first; without it the last ones. */
  events(query: { readonly since?: number; readonly limit?: number }): Promise<readonly Event[]>;
  /** Hands over events after the one with number `since` as they come; resolves when there will be no more. */
  follow(since: number, take: (event: Event) => void): Promise<StreamEnd>;
  /** The configurations that were in force. */
  history<T>(): Promise<T>;
  /** One of them. Rejects with HG_GENERATION. */
  generation<T>(generation: number): Promise<T>;
  rollback(order: {
    readonly generation: number;
    readonly dropRuntimeChanges: boolean;
    readonly yes: boolean;
  }): Promise<{ generation: number }>;
};

/**
 * How long a daemon may be silent: it says at once how it is, whatever it is at. Work may take its time, for every ten seconds the
 * daemon says that it is at it; the rest is for those that did not say so yet.
 */
const [greetingMs, workMs] = [10_000, 300_000];

/**
 * Reaches the daemon that listens at `path`; undefined when none does. `by` is which of our programs asks. Rejects with
 * HG_NOT_ROOT, HG_SOCKET.
 */
export async function openRemote(path: string, by = 'headgate'): Promise<Remote | undefined> {
  refuseStrangers(path);
  const status = await call<DaemonStatus>(path, 'GET', '/v1/status', undefined, {
    timeout: greetingMs,
  }).catch((error) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    throw error;
  });
  if (!status) return undefined;
  return {
    status,
    read: async () => observedFromWire(await call(path, 'GET', '/v1/table')),
    apply: async (operations) => {
      const { refusals } = await call<{ refusals: (Refusal | null)[] }>(
        path,
        'POST',
        '/v1/operations',
        { operations },
        { by },
      );
      return refusals.map((refusal) => refusal ?? undefined);
    },
    connections: ({ clients = [] } = {}) => {
      const query = clients.map((client) => `client=${client}`).join('&');
      return list<Connection>(path, `/v1/connections${query && '?'}${query}`);
    },
    totals: async () => {
      const found = await call<Totals | null>(path, 'GET', '/v1/totals');
      return found ? totalsFromWire(found) : undefined;
    },
    outlook: async (service, addresses) => {
      const found = await call<(Omit<Outlook, 'paths'> & { paths: [Address, Path][] }) | null>(
        path,
        'POST',
        '/v1/outlook',
        { ...(service && { service }), addresses },
      );
      return found ? outlookFromWire(found) : { paths: new Map() };
    },
    diagnosis: async <T>() => (await call<T | null>(path, 'GET', '/v1/diagnosis')) ?? undefined,
    report: () => call(path, 'GET', '/v1/report'),
    summary: () => call(path, 'GET', '/v1/summary'),
    describe: (name) => call(path, 'POST', '/v1/describe', { name }),
    explain: (question) => call(path, 'POST', '/v1/explain', question),
    reload: (order) => call(path, 'POST', '/v1/reload', order),
    checks: () => call(path, 'GET', '/v1/checks'),
    check: (realServer) => call(path, 'POST', '/v1/check', { realServer }),
    failover: (request) => call(path, 'POST', '/v1/failover', request),
    migrate: (request) => call(path, 'POST', '/v1/migrate', request),
    overrides: async () =>
      (await call<{ overrides: (OverrideStatus & Override)[] }>(path, 'GET', '/v1/overrides')).overrides,
    override: async (request) =>
      (await call<{ overrides: OverrideStatus[] }>(path, 'POST', '/v1/overrides', request)).overrides,
    events: async (query) => {
      const words = Object.entries(query).map(([name, value]) => `${name}=${value}`);
      return (await call<{ events: Event[] }>(path, 'GET', `/v1/events?${words.join('&')}`)).events;
    },
    follow: (since, take) =>
      followEvents(path, since, take, async (response) => errorOf(await contentOf(path, response))),
    history: () => call(path, 'GET', '/v1/history'),
    generation: (generation) => call(path, 'GET', `/v1/history/${generation}`),
    rollback: (order) => call(path, 'POST', '/v1/rollback', order),
  };
}

type CallOptions = { readonly timeout?: number; readonly by?: string };

async function call<T>(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  sent?: unknown,
  options: CallOptions = {},
): Promise<T> {
  const response = await ask(socketPath, method, path, sent, options);
  const value = await contentOf(socketPath, response);
  if (response.statusCode === 200) return value as T;
  throw errorOf(value);
}

/** The rows of a long list, as they come. */
async function* list<Row>(socketPath: string, path: string): AsyncGenerator<readonly Row[]> {
  const response = await ask(socketPath, 'GET', path);
  if (response.statusCode !== 200) throw errorOf(await contentOf(socketPath, response));
  try {
    yield* receiveRows<Row>(response);
  } catch (error) {
    throw notUnderstood(socketPath, error);
  }
}

/** Sends a request; resolves when the answer begins. */
function ask(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  sent?: unknown,
  { timeout = workMs, by = 'headgate' }: CallOptions = {},
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const text = sent === undefined ? '' : toWire(sent);
    const outgoing = request(
      {
        // A connection that is kept is closed by a daemon that hears nothing for five seconds, while this process may be busy.
        ...{ socketPath, method, path, timeout, agent: false },
        headers: { 'content-length': Buffer.byteLength(text), 'user-agent': `headgate/${by}` },
      },
      resolve,
    );
    outgoing.on('timeout', () =>
      outgoing.destroy(new HeadgateError('HG_SOCKET', silence(socketPath, timeout))),
    );
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      if (error instanceof HeadgateError) reject(error);
      else if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') reject(error);
      else if (error.code === 'EACCES')
        reject(
          new HeadgateError('HG_NOT_ROOT', `Cannot reach the daemon at "${socketPath}": this user may not`),
        );
      else
        reject(
          new HeadgateError(
            'HG_SOCKET',
            `Cannot reach the daemon at "${socketPath}": ${error.code ?? error.message}`,
          ),
        );
    });
    outgoing.end(text);
  });
}

async function contentOf(socketPath: string, response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw notUnderstood(socketPath, error);
  }
}

function notUnderstood(path: string, error: unknown): HeadgateError {
  const why =
    error instanceof SyntaxError ? 'Cannot understand the daemon' : 'Cannot hear the daemon to the end';
  return new HeadgateError('HG_SOCKET', `${why} at "${path}"`, { cause: error });
}

const silence = (path: string, ms: number): string =>
  `Cannot get an answer from the daemon at "${path}": wanted a word within ${ms / 1000} s, found none`;

function errorOf(value: unknown): Error {
  const { error } = value as {
    error?: { code?: string; message?: string; hint?: string; problems?: readonly Problem[] };
  };
  const message = error?.message ?? 'The daemon answered without a word';
  if (error?.code === undefined || !(error.code in errorCatalogue)) return new Error(message);
  const { hint, problems } = error;
  return new HeadgateError(error.code as ErrorCode, message, {
    ...(hint !== undefined && { hint }),
    ...(problems !== undefined && { problems }),
  });
}
