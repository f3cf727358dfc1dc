import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Event } from '../model/event.ts';

/** Why a stream of events came to its end. */
export type StreamEnd = { readonly name: 'end' | 'cut-off' | 'lost'; readonly reason: string };

/**
 * Follows the events of the daemon at `socketPath` after the one with number `since`, and resolves when there will be no
 * more. An answer that is no stream is handed to `refused`, whose result is thrown.
 */
export function followEvents(
  socketPath: string,
  since: number,
  take: (event: Event) => void,
  refused: (response: IncomingMessage) => Promise<Error>,
): Promise<StreamEnd> {
  return new Promise((resolve, reject) => {
    const headers = { accept: 'text/event-stream', 'last-event-id': String(since) };
    const outgoing: ClientRequest = request(
      { socketPath, path: '/v1/events', headers, agent: false },
      (response) => {
        if (response.statusCode !== 200) {
          refused(response).then(reject, reject);
          return;
        }
        let end: StreamEnd = { name: 'lost', reason: 'the daemon is gone' };
        const feed = parseStream(({ name, data }) => {
          if (name !== 'end' && name !== 'cut-off') take(JSON.parse(data) as Event);
          else end = { name, reason: (JSON.parse(data) as { reason: string }).reason };
        });
        response.setEncoding('utf8');
        response.on('data', feed);
        response.on('error', () => resolve(end));
        response.on('end', () => resolve(end));
      },
    );
    outgoing.on('error', () => resolve({ name: 'lost', reason: 'the daemon is gone' }));
    outgoing.end();
  });
}

/** A message of a stream. */
export type Message = { readonly name: string; readonly data: string; readonly id: string };

/** A carriage return that came last may be half of a line's end. */
const lineEnd = /\r\n|\n|\r(?!$)/;

/** Takes a stream apart, given piece by piece, by the rules of WHATWG HTML 9.2.6. */
export function parseStream(take: (message: Message) => void): (text: string) => void {
  let rest = '';
  let [name, id] = ['', ''];
  let data: string[] = [];
  const line = (text: string) => {
    if (text === '') {
      if (data.length > 0) take({ name: name === '' ? 'message' : name, data: data.join('\n'), id });
      [name, data] = ['', []];
      return;
    }
    const at = text.indexOf(':');
    const field = at < 0 ? text : text.slice(0, at);
    const value = at < 0 ? '' : text.slice(at + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    else if (field === 'data') data.push(value);
    else if (field === 'id' && !value.includes('\0')) id = value;
  };
  return (text) => {
    rest += text;
    for (let end = lineEnd.exec(rest); end; end = lineEnd.exec(rest)) {
      const whole = rest.slice(0, end.index);
      rest = rest.slice(end.index + end[0].length);
      line(whole);
    }
  };
}
