import type { IncomingMessage, ServerResponse } from 'node:http';
import { HeadgateError } from '../model/errors.ts';
import type { Event } from '../model/event.ts';
import { targetOf } from './target.ts';

/*
 * Events as server-sent events (WHATWG HTML, 9.2): `id`, `event` and `data` of each, a comment as a sign of life. Nothing is
 * kept for a follower but its place in the log: it is sent as much as its connection takes, and the rest when that takes
 * more.
 */

/** Where events come from. */
export type EventFeed = {
  /** Events after the one with this number, oldest first; all that are kept where the number was never given. */
  after(id: number): readonly Event[];
  /** The number of the newest one; 0 when there was none. */
  newest(): number;
  /** The number of the oldest one that is kept; 0 when there is none. */
  oldest(): number;
  /** Calls back after each event; the result ends that. */
  subscribe(listener: () => void): () => void;
};

export type Followers = {
  /** Sends events as long as the client is there. Throws HG_FOLLOWERS, HG_REQUEST. */
  follow(request: IncomingMessage, response: ServerResponse): void;
  /** Tells every follower that this is the end. */
  close(): void;
};

export type FollowerLimits = {
  readonly followers: number;
  readonly heartbeatMs: number;
  /** A follower that takes nothing for as long is cut off. */
  readonly stallMs: number;
};

export const followerLimits: FollowerLimits = { followers: 64, heartbeatMs: 15_000, stallMs: 30_000 };

/** Clients come back after as long. */
const retryMs = 2000;
/** Who is told of the end has as long to read it. */
const farewellMs = 1000;

/** Whether a client asks for a stream. */
export function wantsStream({ method, url, headers }: IncomingMessage): boolean {
  const { path } = targetOf(url);
  return method === 'GET' && path === '/v1/events' && /\btext\/event-stream\b/.test(headers.accept ?? '');
}

/** Serves everybody who follows the events of `feed`. */
export function openFollowers(
  feed: EventFeed,
  { followers: most, heartbeatMs, stallMs }: FollowerLimits = followerLimits,
): Followers {
  const ends = new Set<(name: string, reason: string) => void>();
  return {
    follow(request, response) {
      let sent = placeOf(request) ?? feed.newest();
      if (ends.size >= most)
        throw new HeadgateError('HG_FOLLOWERS', `Cannot follow the events: ${most} programs do so already`);
      let isFirst = true;
      let blockedAtMs: number | undefined;
      const write = (text: string) => {
        if (!response.write(text)) blockedAtMs ??= performance.now();
      };
      const pump = () => {
        if (blockedAtMs !== undefined) return;
        const oldest = feed.oldest();
        if (!isFirst && sent + 1 < oldest) {
          end('cut-off', `events ${sent + 1} to ${oldest - 1} went before they could be sent`);
          return;
        }
        isFirst = false;
        for (const event of feed.after(sent)) {
          sent = event.id;
          write(messageOf(event.kind, event, event.id));
          if (blockedAtMs !== undefined) return;
        }
      };
      const beat = setInterval(() => {
        if (blockedAtMs === undefined) write(': here\n\n');
        else if (performance.now() - blockedAtMs >= stallMs)
          end('cut-off', `nothing was read for ${stallMs / 1000} s`);
      }, heartbeatMs);
      const unsubscribe = feed.subscribe(pump);
      const leave = () => {
        clearInterval(beat);
        unsubscribe();
        ends.delete(end);
      };
      const end = (name: string, reason: string) => {
        leave();
        response.end(messageOf(name, { reason }));
        const farewell = setTimeout(() => response.destroy(), farewellMs);
        response.once('close', () => clearTimeout(farewell));
      };
      ends.add(end);
      response.once('close', leave);
      response.on('drain', () => {
        blockedAtMs = undefined;
        pump();
      });
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        connection: 'close',
      });
      write(`retry: ${retryMs}\n\n`);
      pump();
    },
    close() {
      for (const end of [...ends]) end('end', 'the daemon ends');
    },
  };
}

/** One message. The data is JSON, which has no line breaks. */
function messageOf(name: string, data: object, id?: number): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The event a client has seen last; undefined where it wants to know only of what comes. Throws HG_REQUEST. */
function placeOf({ url, headers }: IncomingMessage): number | undefined {
  const header = headers['last-event-id'];
  const text = (Array.isArray(header) ? header[0] : header) ?? targetOf(url).query.get('since');
  return text === null || text === undefined || text === '' ? undefined : wholeNumber('since', text);
}

/** A number of a query. Throws HG_REQUEST. */
export function wholeNumber(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new HeadgateError(
    'HG_REQUEST',
    `Cannot read the request: "${name}": wanted a number, found "${text.slice(0, 40)}"`,
  );
}

/** Events of one answer that is no stream. */
const mostEvents = 10_000;

/** What `GET /v1/events?since=ID&limit=N` answers: those after ID, oldest first; without ID the last N. */
export function eventsAnswer(
  feed: EventFeed,
  url: string | undefined,
): { readonly events: readonly Event[]; readonly newest: number } {
  const { query } = targetOf(url);
  const since = query.get('since');
  const limit = Math.min(
    wholeNumber('limit', query.get('limit') ?? (since === null ? '50' : '1000')),
    mostEvents,
  );
  const events = feed.after(since === null ? 0 : wholeNumber('since', since));
  const first = since === null ? Math.max(0, events.length - limit) : 0;
  return { events: events.slice(first, first + limit), newest: feed.newest() };
}
