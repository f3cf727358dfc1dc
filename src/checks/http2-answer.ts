import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { type CheckContext, CheckFailure } from './check.ts';
import type { Dialogue } from './dialogue.ts';
import { endedBy } from './failure-words.ts';
import type { PageAnswer } from './http-answer.ts';
import { cleanTarget, type PageRequest } from './http-request.ts';

/** How long what came before the server's end may be on its way through the session. */
const afterEndMs = 200;

/** Asks for a page by HTTP/2 (RFC 9113), without an upgrade before it. */
export async function askByHttp2(
  dialogue: Dialogue,
  request: PageRequest,
  maxBody: number,
  { signal, tell }: CheckContext,
): Promise<PageAnswer> {
  // The session does not notice an end that came before it.
  let ended = (): void => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const session = connect(`${request.scheme}://${request.host}`, {
    createConnection: () => dialogue.stream(ended),
    settings: { enablePush: false },
  });
  tell({ direction: 'sent', text: `${request.method} ${cleanTarget(request.target)} HTTP/2` });
  let timer: NodeJS.Timeout | undefined;
  let onAbort = (): void => {};
  try {
    const answer = await new Promise<PageAnswer>((resolve, reject) => {
      onAbort = () => reject(endedBy(signal, 'expect'));
      if (signal.aborted) onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      void end.then(() => {
        timer = setTimeout(
          () => reject(new CheckFailure('expect', 'connection closed without an answer')),
          afterEndMs,
        );
      });
      ask(session, request, maxBody, resolve, (reason) => reject(new CheckFailure('expect', reason)));
    });
    tell({ direction: 'received', text: `HTTP/2 ${answer.status}, ${answer.body.length} bytes` });
    return answer;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    session.destroy();
  }
}

function ask(
  session: ClientHttp2Session,
  request: PageRequest,
  maxBody: number,
  answered: (answer: PageAnswer) => void,
  failed: (reason: string) => void,
): void {
  const onError = (error: Error): void => failed(http2Words(error));
  session.on('error', onError).on('close', () => failed('connection closed without an answer'));
  session.on('goaway', (code) => {
    if (code !== constants.NGHTTP2_NO_ERROR) failed(`the server ends the session: ${errorName(code)}`);
  });
  const stream = session.request({
    ':method': request.method,
    // Node would add the port to it.
    ':authority': request.host,
    ':path': cleanTarget(request.target),
    'user-agent': 'headgate',
    accept: '*/*',
  });
  const chunks: Buffer[] = [];
  let length = 0;
  let answer: Omit<PageAnswer, 'body' | 'isWhole'> | undefined;
  const finish = (isWhole: boolean): void => {
    if (answer) answered({ ...answer, body: Buffer.concat(chunks).subarray(0, maxBody), isWhole });
    else failed('connection closed without an answer');
  };
  stream.on('error', onError);
  stream.on('response', (headers) => {
    answer = { status: headers[':status'] ?? 0, reason: '', location: headers.location };
    if (maxBody === 0) finish(false);
  });
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    // Node may tell of a body before it tells of the header.
    if (length > maxBody) setImmediate(finish, false);
  });
  stream.on('end', () => setImmediate(finish, true));
}

function http2Words(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ERR_HTTP2_ERROR') return `the server does not speak HTTP/2: ${error.message}`;
  if (code === 'ECONNRESET') return 'connection reset by the server';
  return `HTTP/2: ${error.message}`;
}

function errorName(code: number): string {
  const names = constants as unknown as Readonly<Record<string, number>>;
  return (
    Object.keys(names)
      .find((name) => name.startsWith('NGHTTP2_') && !name.startsWith('NGHTTP2_ERR_') && names[name] === code)
      ?.slice('NGHTTP2_'.length)
      .toLowerCase()
      .replaceAll('_', ' ') ?? `error ${code}`
  );
}
