import type { Duplex } from 'node:stream';
import type { Address } from '../model/address.ts';
import { type CheckContext, CheckFailure } from './check.ts';
import { positionOf, take, waiting } from './inbox.ts';
import { type Line, openLine } from './line.ts';
import { shownText } from './shown-text.ts';
import type { TlsSession, TlsWish } from './tls-session.ts';

/** Longest line that is read, bytes: far more than the longest of the protocols checked (998, RFC 5322, 2.1.1). */
const longestLine = 8192;

/** How long a goodbye waits for the other side to end. */
const farewellMs = 250;

/** How often an answer that grows slowly is looked at. */
const askEveryMs = 20;

/** How the other side is reached. */
export type Way = {
  /** The address the connection comes from. */
  readonly source?: Address | undefined;
  /** TLS from the first byte. */
  readonly tls?: TlsWish | undefined;
};

/**
 * A connection to a real server as a check talks over it. One call at a time. Every call rejects with a CheckFailure
 * of its phase: by an error of the connection, by the end of the check's time, or where the other side sends more
 * than was asked for.
 */
export type Dialogue = {
  /** What the TLS handshake brought; undefined before one. */
  readonly session: () => TlsSession | undefined;
  /** Turns the connection into TLS. Bytes that came before the handshake make it fail (RFC 3207, section 6). */
  readonly startTls: (wish: TlsWish) => Promise<TlsSession>;
  /** Sends; `shown` is told instead where the text holds a secret. */
  readonly send: (data: string | Uint8Array, shown?: string) => Promise<void>;
  /** The next line without its end (LF or CR LF), its bytes as Latin-1. */
  readonly readLine: (atMost?: number) => Promise<string>;
  /** All bytes up to `delimiter` and with it. */
  readonly readUntil: (delimiter: string, atMost: number) => Promise<Buffer>;
  /** Exactly `count` bytes. */
  readonly readBytes: (count: number) => Promise<Buffer>;
  /** All bytes until the other side ends, or the first `atMost` of them. */
  readonly readToEnd: (atMost: number) => Promise<{ readonly bytes: Buffer; readonly isWhole: boolean }>;
  /**
   * What came by the time `isEnough` says so; else all until the other side ends, or the first `atMost` bytes. It is
   * asked as more comes, but not for every byte of a slow sender: `isEnough` may cost something.
   */
  readonly readUntilEnough: (isEnough: (bytes: Buffer) => boolean, atMost: number) => Promise<Buffer>;
  /** Says goodbye where the result stands already: nothing that happens meanwhile matters. */
  readonly farewell: (data: string | Uint8Array, shown?: string) => Promise<void>;
  /** Ends our side of the connection; the other side may go on. */
  readonly endSending: () => void;
  /** Where the connection comes from. */
  readonly local: () => { readonly address: string; readonly port: number };
  /** A stream, for a protocol that Node speaks; nothing else of the dialogue is to be used after it. */
  readonly stream: (ended: () => void) => Duplex;
};

/**
 * Connects to the target, lets `talk` talk, and closes. It is closed by a reset, whatever happened, so that nothing of
 * it stays on this host: neither a file descriptor nor, after thousands of checks, ports in TIME_WAIT.
 */
export async function converse<T>(
  context: CheckContext,
  way: Way,
  talk: (dialogue: Dialogue) => Promise<T>,
): Promise<T> {
  const line = openLine(context, way.source);
  try {
    await line.until('connect', line.isConnected);
    const { address, port } = context.target;
    context.tell({ direction: 'note', text: `connected to ${address} port ${port}` });
    const dialogue = dialogueOver(line, context.tell);
    if (way.tls) await dialogue.startTls(way.tls);
    return await talk(dialogue);
  } finally {
    line.close();
  }
}

function dialogueOver(line: Line, tell: CheckContext['tell']): Dialogue {
  const { inbox } = line;
  let session: TlsSession | undefined;

  const received = (count: number): Buffer => {
    const bytes = take(inbox, count);
    tell({ direction: 'received', text: shownText(bytes) });
    return bytes;
  };
  const readUntil = async (delimiter: string, atMost: number, what: string): Promise<Buffer> => {
    const wanted = Buffer.from(delimiter, 'latin1');
    let searched = 0;
    let position = -1;
    await line.until('expect', () => {
      position = positionOf(inbox, wanted, searched);
      searched = Math.max(0, waiting(inbox) - wanted.length + 1);
      const length = position === -1 ? waiting(inbox) : position + wanted.length;
      if (length > atMost) throw new CheckFailure('expect', `${what} of more than ${atMost} bytes`);
      return position !== -1;
    });
    return received(position + wanted.length);
  };

  return {
    session: () => session,
    local: line.local,
    async startTls(wish) {
      if (waiting(inbox) > 0) throw new CheckFailure('tls', 'the server sent more before the handshake');
      session = await line.upgrade(wish);
      tell({ direction: 'note', text: sessionText(session) });
      return session;
    },
    async send(data, shown) {
      tell({ direction: 'sent', text: shown ?? shownText(data) });
      await line.write(data);
    },
    async readLine(atMost = longestLine) {
      return (await readUntil('\n', atMost, 'a line')).toString('latin1').replace(/\r?\n$/, '');
    },
    readUntil: (delimiter, atMost) => readUntil(delimiter, atMost, 'an answer'),
    async readBytes(count) {
      await line.until('expect', () => waiting(inbox) >= count);
      return received(count);
    },
    async readToEnd(atMost) {
      await line.until('expect', () => waiting(inbox) > atMost || line.hasEnded());
      const isWhole = waiting(inbox) <= atMost;
      return { bytes: received(Math.min(waiting(inbox), atMost)), isWhole };
    },
    async readUntilEnough(isEnough, atMost) {
      let asked = -1;
      let askedMs = 0;
      let timer: NodeJS.Timeout | undefined;
      try {
        await line.until('expect', () => {
          const length = Math.min(waiting(inbox), atMost);
          const isLast = line.hasEnded() || length === atMost;
          if (length !== asked) {
            const nextMs = askedMs + askEveryMs - performance.now();
            if (!isLast && length < 1.25 * asked && nextMs > 0) {
              timer ??= setTimeout(() => {
                timer = undefined;
                line.lookAgain();
              }, nextMs);
              return false;
            }
            asked = length;
            askedMs = performance.now();
            if (isEnough(inbox.bytes.subarray(inbox.start, inbox.start + length))) return true;
          }
          return isLast;
        });
      } catch (error) {
        if (waiting(inbox) > 0) received(waiting(inbox));
        throw error;
      } finally {
        clearTimeout(timer);
      }
      return received(Math.min(waiting(inbox), atMost));
    },
    async farewell(data, shown) {
      const timer = setTimeout(line.stopWaiting, farewellMs);
      try {
        tell({ direction: 'sent', text: shown ?? shownText(data) });
        await line.write(data);
        await line.until('expect', line.hasEnded);
      } catch {
        // Whatever it was, the check has its result.
      } finally {
        clearTimeout(timer);
      }
    },
    endSending: line.end,
    stream: line.handOver,
  };
}

function sessionText({ version, protocol, expiresMs }: TlsSession): string {
  const until =
    expiresMs === undefined ? '' : `, certificate until ${new Date(expiresMs).toISOString().slice(0, 10)}`;
  return `${version}${protocol === undefined ? '' : `, ${protocol}`}${until}`;
}
