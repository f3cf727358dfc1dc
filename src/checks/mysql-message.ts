import { constants, createHash, createPublicKey, publicEncrypt } from 'node:crypto';

/**
 * Packets of MySQL's and MariaDB's protocol (MySQL Internals, "Client/Server Protocol"; MariaDB, "Clientserver
 * protocol"). A packet is its length in three bytes, a sequence number, and its payload; here are the payloads.
 */

/** What both sides can do, in bits. */
const capabilities = {
  longPassword: 0x1,
  withDatabase: 0x8,
  protocol41: 0x200,
  tls: 0x800,
  transactions: 0x2000,
  secureConnection: 0x8000,
  pluginAuth: 0x80000,
} as const;
const maxPacket = 1024 * 1024;
/** utf8mb4_general_ci, which every server of this century knows. */
const characterSet = 45;
const saltLength = 20;

/** Bytes that are no such packet. */
export class MysqlError extends Error {}

/** Ways to prove a password. */
export type AuthPlugin = 'mysql_native_password' | 'caching_sha2_password' | 'mysql_clear_password';

/** What a server greets with. */
export type Greeting = {
  /** `10.11.4-MariaDB-1`. */
  readonly version: string;
  readonly hasTls: boolean;
  readonly salt: Buffer;
  readonly plugin: string;
};

/** Any other packet of a server, while signing in or at the beginning of an answer. */
export type MysqlPacket =
  | { readonly kind: 'ok' }
  | { readonly kind: 'error'; readonly code: number; readonly text: string }
  /** The server wants another proof. */
  | { readonly kind: 'switch'; readonly plugin: string; readonly salt: Buffer }
  /** What belongs to the proof: caching_sha2_password has several steps. */
  | { readonly kind: 'more'; readonly data: Buffer };

/** Reads the first packet. Throws MysqlError and nothing else. */
export function decodeGreeting(payload: Buffer): Greeting | Extract<MysqlPacket, { kind: 'error' }> {
  // A server that takes nobody says so at once, without the state that errors have later.
  if (payload[0] === 0xff) return errorIn(payload);
  if (payload[0] !== 10) throw new MysqlError(`protocol ${payload[0] ?? 'unknown'}, want 10`);
  const version = textUntilZero(payload, 1);
  const fixed = payload.subarray(1 + Buffer.byteLength(version, 'latin1') + 1);
  if (fixed.length < 31) throw new MysqlError('a greeting without its end');
  const flags = fixed.readUInt16LE(13) + fixed.readUInt16LE(18) * 0x10000;
  if ((flags & capabilities.secureConnection) === 0) throw new MysqlError('a server older than version 4.1');
  const second = fixed.subarray(31, 31 + Math.max(13, fixed[20]! - 8));
  const salt = Buffer.concat([fixed.subarray(4, 12), second]).subarray(0, saltLength);
  const plugin = (flags & capabilities.pluginAuth) === 0 ? '' : textUntilZero(fixed, 31 + second.length);
  return {
    version,
    hasTls: (flags & capabilities.tls) !== 0,
    salt,
    plugin: plugin === '' ? 'mysql_native_password' : plugin,
  };
}

/** Reads a packet that is no greeting. Throws MysqlError and nothing else. */
export function decodePacket(payload: Buffer): MysqlPacket {
  switch (payload[0]) {
    case 0x00:
      return { kind: 'ok' };
    case 0x01:
      return { kind: 'more', data: payload.subarray(1) };
    case 0xfe: {
      const plugin = textUntilZero(payload, 1);
      const salt = payload.subarray(1 + Buffer.byteLength(plugin, 'latin1') + 1);
      return { kind: 'switch', plugin, salt: salt.subarray(0, saltLength) };
    }
    case 0xff:
      return errorIn(payload);
    default:
      throw new MysqlError(`a packet of kind ${payload[0] ?? 'none'}`);
  }
}

/** What answers a query: an error, no rows at all, or so many columns. Throws MysqlError and nothing else. */
export function decodeAnswerStart(
  payload: Buffer,
): Extract<MysqlPacket, { kind: 'error' }> | { readonly columns: number } {
  const first = payload[0];
  if (first === 0xff) return errorIn(payload);
  if (first === 0x00) return { columns: 0 };
  if (first === 0xfb) throw new MysqlError('a request for a file of ours');
  if (first !== undefined && first < 0xfb) return { columns: first };
  if (first === 0xfc && payload.length >= 3) return { columns: payload.readUInt16LE(1) };
  throw new MysqlError('no number of columns');
}

/** Whether a packet ends columns or rows. */
export function isEnd(payload: Buffer): boolean {
  return payload[0] === 0xfe && payload.length < 9;
}

/** An error: its number, a state where there is one, and words. */
export function errorIn(payload: Buffer): Extract<MysqlPacket, { kind: 'error' }> {
  if (payload.length < 3) throw new MysqlError('an error without number');
  const hasState = payload[3] === 0x23;
  return { kind: 'error', code: payload.readUInt16LE(1), text: payload.toString('utf8', hasState ? 9 : 3) };
}

function textUntilZero(payload: Buffer, start: number): string {
  const end = payload.indexOf(0, start);
  if (end === -1) throw new MysqlError('a text without its end');
  return payload.toString('latin1', start, end);
}

/** Who signs in, and how. */
export type Login = {
  readonly user: string;
  readonly database: string | undefined;
  readonly plugin: AuthPlugin;
  readonly proof: Buffer;
  readonly withTls: boolean;
};

/** The beginning of a login, which alone asks for TLS. */
export function encodeTlsRequest(hasDatabase: boolean): Buffer {
  return loginHead(hasDatabase, true);
}

export function encodeLogin({ user, database, plugin, proof, withTls }: Login): Buffer {
  if (proof.length > 255) throw new MysqlError('a password of more than 255 bytes');
  return Buffer.concat([
    loginHead(database !== undefined, withTls),
    terminated(user),
    Buffer.of(proof.length),
    proof,
    ...(database === undefined ? [] : [terminated(database)]),
    terminated(plugin),
  ]);
}

function loginHead(hasDatabase: boolean, withTls: boolean): Buffer {
  const { longPassword, protocol41, transactions, secureConnection, pluginAuth } = capabilities;
  const head = Buffer.alloc(32);
  head.writeUInt32LE(
    longPassword +
      protocol41 +
      transactions +
      secureConnection +
      pluginAuth +
      (hasDatabase ? capabilities.withDatabase : 0) +
      (withTls ? capabilities.tls : 0),
  );
  head.writeUInt32LE(maxPacket, 4);
  head[8] = characterSet;
  return head;
}

export function encodeQuery(query: string): Buffer {
  return Buffer.concat([Buffer.of(3), Buffer.from(query)]);
}

export function encodeQuit(): Buffer {
  return Buffer.of(1);
}

export function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** The proof of a password; an empty one is proved by nothing. */
export function proofOf(plugin: AuthPlugin, password: string, salt: Buffer): Buffer {
  if (plugin === 'mysql_clear_password') return terminated(password);
  if (password === '') return Buffer.alloc(0);
  if (plugin === 'mysql_native_password') {
    const once = digest('sha1', password);
    return xor(once, digest('sha1', salt, digest('sha1', once)));
  }
  const once = digest('sha256', password);
  return xor(once, digest('sha256', digest('sha256', once), salt));
}

/** A password that only the owner of the key reads (caching_sha2_password without TLS). Throws MysqlError. */
export function encryptedPassword(password: string, salt: Buffer, publicKey: Buffer): Buffer {
  try {
    return publicEncrypt(
      { key: createPublicKey(publicKey), padding: constants.RSA_PKCS1_OAEP_PADDING },
      xor(terminated(password), salt),
    );
  } catch {
    throw new MysqlError('no public key that the password can be encrypted with');
  }
}

function digest(algorithm: 'sha1' | 'sha256', ...parts: readonly (string | Buffer)[]): Buffer {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Each byte with one of the mask's, which begins again where it ends. */
function xor(bytes: Buffer, mask: Buffer): Buffer {
  if (mask.length === 0) throw new MysqlError('a salt of no length');
  return Buffer.from(bytes.map((byte, i) => byte ^ mask[i % mask.length]!));
}
