import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import type { Address } from '../model/address.ts';
import type { CheckPhase } from '../model/check-result.ts';
import { bridgeOver } from './bridge.ts';
import { type CheckContext, CheckFailure } from './check.ts';
import { endedBy, socketFailure } from './failure-words.ts';
import { append, type Inbox, newInbox, waiting } from './inbox.ts';
import { secureContextOf } from './tls-files.ts';
import { judgeSession, type TlsSession, type TlsWish } from './tls-session.ts';

/** A connection with the bytes that came over it. One call at a time. */
export type Line = {
  readonly inbox: Inbox;
  /** Waits until `isThere`; rejects with a CheckFailure where the connection or the check's time ends before. */
  readonly until: (during: CheckPhase, isThere: () => boolean) => Promise<void>;
  readonly write: (data: string | Uint8Array) => Promise<void>;
  readonly upgrade: (wish: TlsWish) => Promise<TlsSession>;
  readonly isConnected: () => boolean;
  /** Where it comes from, once it is connected. */
  readonly local: () => { readonly address: string; readonly port: number };
  readonly hasEnded: () => boolean;
  /** Lets what waits fail. */
  readonly stopWaiting: () => void;
  /** Lets `until` look again, for what depends on time as well. */
  readonly lookAgain: () => void;
  /** The stream, for one that reads and writes by itself from now on; hears when the other side ends, or has ended. */
  readonly handOver: (ended: () => void) => Duplex;
  readonly end: () => void;
  readonly close: () => void;
};

/** Begins to connect. Whatever happens, `close` is to be called, and leaves nothing behind. */
export function openLine({ target, signal }: CheckContext, source: Address | undefined): Line {
  const inbox = newInbox();
  let phase: CheckPhase = 'connect';
  let hasEnded = false;
  let failure: CheckFailure | undefined;
  let wake: (() => void) | undefined;

  const happened = (): void => {
    const waiter = wake;
    wake = undefined;
    waiter?.();
  };
  const fail = (cause: CheckFailure): void => {
    failure ??= cause;
    happened();
  };
  const onAbort = (): void => fail(endedBy(signal, phase));
  const onError = (error: Error): void => fail(socketFailure(phase, error, source));
  const onEnd = (): void => {
    hasEnded = true;
    happened();
  };
  const raw = connectTcp({
    host: target.address,
    port: target.port,
    noDelay: true,
    // Else Node ends our side as soon as the other side has ended its own.
    allowHalfOpen: true,
    ...(source !== undefined && { localAddress: source }),
  });
  let stream: Socket = raw;
  let isListening = false;

  const onData = (chunk: Buffer): void => {
    append(inbox, chunk);
    // Nothing is read ahead: what nobody asked for stays in the kernel.
    if (wake === undefined) stream.pause();
    happened();
  };
  /** Lets bytes in, which is not done before somebody wants some: TLS wants to read the first ones itself. */
  const listen = (): void => {
    if (!isListening) stream.on('data', onData);
    isListening = true;
    if (stream.isPaused()) stream.resume();
  };
  const until = async (during: CheckPhase, isThere: () => boolean): Promise<void> => {
    phase = during;
    while (!isThere()) {
      if (failure) throw failure;
      if (hasEnded) throw new CheckFailure(during, endText(during, waiting(inbox)));
      const change = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (during === 'expect') listen();
      await change;
    }
  };

  raw.on('error', onError).once('end', onEnd).once('close', onEnd).once('connect', happened);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });

  return {
    inbox,
    until,
    hasEnded: () => hasEnded,
    stopWaiting: () => fail(new CheckFailure(phase, 'stopped')),
    lookAgain: happened,
    isConnected: () => !raw.connecting && !raw.pending,
    local: () => ({ address: raw.localAddress ?? '', port: raw.localPort ?? 0 }),
    handOver: (ended) => bridgeOver(stream, ended),
    end: () => {
      stream.end();
    },
    async write(data) {
      let isWritten = false;
      stream.write(data, (error) => {
        isWritten = true;
        if (error) onError(error);
        else happened();
      });
      await until('send', () => isWritten && failure === undefined);
    },
    async upgrade(wish) {
      phase = 'tls';
      const secureContext = await secureContextOf(wish);
      raw.off('data', onData).off('end', onEnd);
      isListening = false;
      let isSecure = false;
      const secure = connectTls({
        socket: raw,
        // Judged below, where there are words for it.
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
        secureContext,
        ...(wish.serverName !== undefined && { servername: wish.serverName }),
        ...(wish.protocols !== undefined && { ALPNProtocols: [...wish.protocols] }),
      });
      stream = secure;
      secure.on('error', onError).once('end', onEnd).once('close', onEnd);
      secure.once('secureConnect', () => {
        isSecure = true;
        happened();
      });
      await until('tls', () => isSecure);
      return judgeSession(secure, wish, target.address);
    },
    close() {
      signal.removeEventListener('abort', onAbort);
      if (stream !== raw) stream.destroy();
      raw.resetAndDestroy();
    },
  };
}

function endText(during: CheckPhase, unread: number): string {
  if (during === 'tls') return 'connection closed during the handshake';
  if (during !== 'expect') return 'connection closed by the server';
  return unread === 0
    ? 'connection closed without an answer'
    : 'connection closed in the middle of an answer';
}
