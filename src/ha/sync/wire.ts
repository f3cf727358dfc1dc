import {
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
  hkdfSync,
  randomBytes,
  scryptSync,
} from 'node:crypto';
import { headerBytes } from './message.ts';

/** Which message of a sender it is: the session is its random name, 16 bytes as latin1, and numbers begin with 1. */
export type NumberedMessage = { readonly session: string; readonly number: number };

/** What stands around a message on its way. */
export type Wire = {
  readonly encrypted: boolean;
  /** Bytes it adds. */
  readonly overhead: number;
  seal(message: Buffer): Buffer;
  /** The message of a datagram; a sentence where it is not for us. */
  open(datagram: Buffer): Buffer | string;
  /** The message sealed last (the number 0: none yet), and the one opened last. Absent where they have no numbers. */
  readonly sealed?: () => NumberedMessage;
  readonly opened?: () => NumberedMessage;
};

/*
 * The envelope, docs/reference/sync-envelope.md. Its first byte says to IPVS that it holds no connection, its sixth that it
 * is no message of version 1.
 */
const mark = 0x48;
const envelopeVersion = 1;
const sessionAt = headerBytes;
const sessionBytes = 16;
const counterAt = sessionAt + sessionBytes;
const openBytes = counterAt + 8;
const timeBytes = 8;
const tagBytes = 16;
const overhead = openBytes + timeBytes + tagBytes;
const cipher = 'aes-256-gcm';
/** A session is only begun with when its clock and ours agree this well. */
export const clockToleranceMs = 60_000;
/** How far behind the latest message one may come. */
export const replayWindow = 1024;
/** Senders remembered: more than directors that run, each of which begins one when it starts. */
const mostSessions = 64;
const scryptCost = { N: 1 << 14, r: 8, p: 1 } as const;

const isEnvelope = (datagram: Buffer) =>
  datagram.length >= headerBytes && datagram[0] === 0 && datagram[4] === 0 && datagram[5] === mark;

/** Messages as IPVS sends them. */
export const clearWire: Wire = {
  encrypted: false,
  overhead: 0,
  seal: (message) => message,
  open: (datagram) => (isEnvelope(datagram) ? 'it is encrypted, and there is no key here' : datagram),
};

/** Who sends under one key. */
type Session = { readonly key: Buffer; highest: number; readonly seen: Float64Array };

/**
 * Messages of directors with one secret: AES-256-GCM under a key for each start of a sender, each message once. `nowMs` is
 * wall-clock time.
 */
export function sealedWire(secret: string, nowMs: () => number): Wire {
  const master = scryptSync(secret, 'headgate connection sync', 32, scryptCost);
  const keyOf = (session: Buffer) => Buffer.from(hkdfSync('sha256', master, session, 'headgate sync 1', 32));
  const own = randomBytes(sessionBytes);
  const ownKey = keyOf(own);
  const ownName = own.toString('latin1');
  let counter = 0;
  let opened: NumberedMessage = { session: '', number: 0 };
  const sessions = new Map<string, Session>();

  function seal(message: Buffer): Buffer {
    counter++;
    const sealed = Buffer.alloc(message.length + overhead);
    sealed[1] = message[1]!;
    sealed.writeUInt16BE(sealed.length, 2);
    sealed[5] = mark;
    sealed[6] = envelopeVersion;
    own.copy(sealed, sessionAt);
    sealed.writeBigUInt64BE(BigInt(counter), counterAt);
    const time = Buffer.alloc(timeBytes);
    time.writeBigUInt64BE(BigInt(Math.floor(nowMs())));
    const engine = createCipheriv(cipher, ownKey, nonce(sealed)) as CipherGCM;
    engine.setAAD(sealed.subarray(0, openBytes));
    engine.update(time).copy(sealed, openBytes);
    engine.update(message).copy(sealed, openBytes + timeBytes);
    engine.final();
    engine.getAuthTag().copy(sealed, sealed.length - tagBytes);
    return sealed;
  }

  function open(datagram: Buffer): Buffer | string {
    if (!isEnvelope(datagram)) return 'it is not encrypted';
    if (datagram[6] !== envelopeVersion) return `it has an envelope of version ${datagram[6]}`;
    if (datagram.length < overhead || datagram.readUInt16BE(2) !== datagram.length) return 'it is cut off';
    const name = datagram.toString('latin1', sessionAt, counterAt);
    const count = Number(datagram.readBigUInt64BE(counterAt));
    const known = sessions.get(name);
    const session = known ?? {
      key: keyOf(datagram.subarray(sessionAt, counterAt)),
      highest: 0,
      seen: new Float64Array(replayWindow),
    };
    if (count <= session.highest - replayWindow || session.seen[count % replayWindow] === count)
      return 'it has come before';
    const plain = decrypt(datagram, session.key);
    if (!plain) return 'it was not made with this key, or was changed on its way';
    const apartMs = Math.abs(Number(plain.readBigUInt64BE(0)) - nowMs());
    if (!known && apartMs > clockToleranceMs)
      return `its sender's clock and ours are ${Math.round(apartMs / 1000)} s apart, or it has come before`;
    remember(name, session);
    session.highest = Math.max(session.highest, count);
    session.seen[count % replayWindow] = count;
    opened = { session: name, number: count };
    return plain.subarray(timeBytes);
  }

  /** The session heard of last stands last. */
  function remember(name: string, session: Session): void {
    sessions.delete(name);
    sessions.set(name, session);
    const [oldest] = sessions.keys();
    if (sessions.size > mostSessions) sessions.delete(oldest!);
  }

  return {
    ...{ encrypted: true, overhead, seal, open },
    sealed: () => ({ session: ownName, number: counter }),
    opened: () => opened,
  };
}

function decrypt(datagram: Buffer, key: Buffer): Buffer | undefined {
  const engine = createDecipheriv(cipher, key, nonce(datagram)) as DecipherGCM;
  engine.setAAD(datagram.subarray(0, openBytes));
  engine.setAuthTag(datagram.subarray(datagram.length - tagBytes));
  const plain = engine.update(datagram.subarray(openBytes, datagram.length - tagBytes));
  try {
    engine.final();
    return plain;
  } catch {
    return undefined;
  }
}

/** Each message of a session has a number of its own, and each session a key of its own. */
function nonce(envelope: Buffer): Buffer {
  const bytes = Buffer.alloc(12);
  envelope.copy(bytes, 4, counterAt, openBytes);
  return bytes;
}
