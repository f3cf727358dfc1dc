import { createHash } from 'node:crypto';

/** Messages of PostgreSQL's protocol 3.0 (its manual, chapter "Message Formats"). */

const protocolVersion = 196_608;
const tlsRequestCode = 80_877_103;

/** Bytes that are no message of it. */
export class PostgresqlError extends Error {}

/** What a server says. */
export type PostgresqlMessage =
  | { readonly kind: 'signedIn' | 'wantsPassword' | 'ready' | 'row' | 'done' | 'other' }
  | { readonly kind: 'wantsMd5'; readonly salt: Buffer }
  | { readonly kind: 'wantsSasl'; readonly mechanisms: readonly string[] }
  | { readonly kind: 'saslContinues' | 'saslEnds'; readonly data: string }
  | { readonly kind: 'wantsUnknown'; readonly method: number }
  | { readonly kind: 'error'; readonly code: string; readonly text: string };

/** The message that asks for TLS; the answer is one byte, S or N. */
export function encodeTlsRequest(): Buffer {
  return Buffer.concat([number(8), number(tlsRequestCode)]);
}

/** The first message; texts must have no zero byte in them. */
export function encodeStartup(user: string, database: string | undefined): Buffer {
  const words = [
    ...['user', user],
    ...(database === undefined ? [] : ['database', database]),
    ...['application_name', 'headgate'],
  ];
  const body = Buffer.concat([number(protocolVersion), ...words.map(terminated), Buffer.of(0)]);
  return Buffer.concat([number(body.length + 4), body]);
}

export function encodePassword(password: string): Buffer {
  return message('p', terminated(password));
}

/** The password as `md5` wants it: hashed with the user's name, then with the salt. */
export function hashedPassword(user: string, password: string, salt: Uint8Array): string {
  const inner = createHash('md5').update(password).update(user).digest('hex');
  return `md5${createHash('md5').update(inner).update(salt).digest('hex')}`;
}

export function encodeSaslStart(mechanism: string, data: string): Buffer {
  return message('p', terminated(mechanism), number(Buffer.byteLength(data)), Buffer.from(data));
}

export function encodeSasl(data: string): Buffer {
  return message('p', Buffer.from(data));
}

export function encodeQuery(query: string): Buffer {
  return message('Q', terminated(query));
}

export function encodeTerminate(): Buffer {
  return message('X');
}

function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), number(body.length + 4), body]);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** Reads a message of this type and body. Throws PostgresqlError and nothing else. */
export function decodeMessage(type: string, body: Buffer): PostgresqlMessage {
  switch (type) {
    case 'R':
      return authentication(body);
    case 'E':
      return errorIn(body);
    case 'Z':
      return { kind: 'ready' };
    case 'D':
      return { kind: 'row' };
    case 'C':
    case 'I':
      return { kind: 'done' };
    default:
      return { kind: 'other' };
  }
}

function authentication(body: Buffer): PostgresqlMessage {
  if (body.length < 4) throw new PostgresqlError('an authentication without method');
  const method = body.readUInt32BE();
  const data = body.subarray(4);
  switch (method) {
    case 0:
      return { kind: 'signedIn' };
    case 3:
      return { kind: 'wantsPassword' };
    case 5:
      if (data.length !== 4) throw new PostgresqlError(`a salt of ${data.length} bytes`);
      return { kind: 'wantsMd5', salt: data };
    case 10:
      return { kind: 'wantsSasl', mechanisms: data.toString('latin1').split('\0').filter(Boolean) };
    case 11:
      return { kind: 'saslContinues', data: data.toString() };
    case 12:
      return { kind: 'saslEnds', data: data.toString() };
    default:
      return { kind: 'wantsUnknown', method };
  }
}

/** An error's fields: a letter and a text each (chapter "Error and Notice Message Fields"). */
function errorIn(body: Buffer): PostgresqlMessage {
  const fields = new Map<string, string>();
  for (const field of body.toString('utf8').split('\0')) {
    if (field !== '') fields.set(field[0]!, field.slice(1));
  }
  return { kind: 'error', code: fields.get('C') ?? '', text: fields.get('M') ?? 'an error without words' };
}
