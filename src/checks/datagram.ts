import { createSocket, type Socket } from 'node:dgram';
import { type Address, familyOf } from '../model/address.ts';
import { type CheckContext, CheckFailure } from './check.ts';
import { endedBy, socketFailure } from './failure-words.ts';
import { shownText } from './shown-text.ts';

/** Where a datagram socket is bound: what some protocols write into their requests. */
export type LocalEnd = { readonly address: string; readonly port: number };

/** One question by UDP. */
export type Question<Answer> = {
  /** The address it comes from. */
  readonly source?: Address | undefined;
  /** What is sent. */
  readonly request: (local: LocalEnd) => string | Uint8Array;
  /** What is told of it, where it holds a secret or is no text. */
  readonly shown?: string;
  /**
   * What a datagram of the peer means: undefined for one that is no answer to this, and waiting goes on. Throws a
   * CheckFailure for a bad answer.
   */
  readonly judge: (datagram: Buffer) => Answer | undefined;
  /** Silence for this long is an answer as well, milliseconds; without it, it is not. */
  readonly silence?: { readonly enoughMs: number; readonly means: Answer };
};

/**
 * Sends one datagram to the target and waits for what answers it. The socket is connected, so that only the peer is
 * heard, and an ICMP error (port or host unreachable) ends the wait (udp(7)). Rejects with a CheckFailure.
 */
export async function ask<Answer>(
  { target, signal, tell }: CheckContext,
  { source, request, shown, judge, silence }: Question<Answer>,
): Promise<Answer> {
  const family = familyOf(target.address);
  // Addresses are never looked up: that would take a thread of libuv's.
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    lookup: (host, _options, found) => found(null, host, family),
  });
  let onAbort: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Answer>((resolve, reject) => {
      onAbort = () => reject(endedBy(signal, 'expect'));
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      socket.on('error', (error) => reject(socketFailure('connect', error, source)));
      socket.on('message', (datagram) => {
        tell({ direction: 'received', text: shownText(datagram) });
        try {
          const answer = judge(datagram);
          if (answer !== undefined) resolve(answer);
        } catch (error) {
          reject(error);
        }
      });
      connect(socket, source, target, () => {
        const datagram = request(socket.address());
        tell({ direction: 'sent', text: shown ?? shownText(datagram) });
        socket.send(datagram, (error) => {
          if (error) return reject(socketFailure('send', error, source));
          if (silence) timer = setTimeout(() => resolve(silence.means), silence.enoughMs);
        });
      });
    });
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
    clearTimeout(timer);
    socket.close();
  }
}

function connect(
  socket: Socket,
  source: Address | undefined,
  { address, port }: { address: Address; port: number },
  done: () => void,
): void {
  const onConnect = (): void => {
    socket.connect(port, address, done);
  };
  if (source === undefined) onConnect();
  else socket.bind({ address: source, exclusive: true }, onConnect);
}

/** Bytes of a datagram as hexadecimal digits. */
export function hexText(bytes: Uint8Array): string {
  return `${Buffer.from(bytes.subarray(0, 32)).toString('hex')}${bytes.length > 32 ? '...' : ''} (${bytes.length} bytes)`;
}

/** A bad answer. */
export function unexpected(reason: string): CheckFailure {
  return new CheckFailure('expect', reason);
}
