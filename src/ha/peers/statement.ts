import { parseAddress } from '../../model/address.ts';
import type { PeerInstance, PeerStatement, PeerSync } from '../../model/peer.ts';
import type { VrrpStatus } from '../../model/vrrp.ts';
import { decodeAgain } from '../sync/again.ts';
import { decodeMessage, isEnd } from '../sync/message.ts';

/*
 * What directors say of themselves, docs/reference/sync-envelope.md:
 *
 *     0 | sync id | length (2) | 0 | 0x50 | version | 0 | JSON in UTF-8
 */

const headerBytes = 8;
const mark = 0x50;
const statementVersion = 1;
/** Of what others say no more is kept. */
const [mostInstances, mostSync, longestText] = [128, 2, 200] as const;

/** Writes a statement; of very many instances the first ones. */
export function encodeStatement(id: number, statement: PeerStatement): Buffer {
  const vrrp = statement.vrrp
    .slice(0, mostInstances)
    .map(({ reason, ...one }) => ({ ...one, reason: reason.slice(0, longestText) }));
  const body = Buffer.from(JSON.stringify({ ...statement, vrrp }));
  const head = Buffer.from([0, id, 0, 0, 0, mark, statementVersion, 0]);
  head.writeUInt16BE(headerBytes + body.length, 2);
  return Buffer.concat([head, body]);
}

/** Reads a statement; a sentence where it is none. Never throws, whatever the bytes. */
export function decodeStatement(
  bytes: Buffer,
): { readonly id: number; readonly statement: PeerStatement } | string {
  if (bytes.length < headerBytes || bytes[0] !== 0 || bytes[4] !== 0 || bytes[5] !== mark)
    return 'it is no statement of a director';
  if (bytes[6] !== statementVersion) return `it is a statement of version ${bytes[6]}`;
  if (bytes.readUInt16BE(2) !== bytes.length) return 'it is cut off';
  let said: unknown;
  try {
    said = JSON.parse(bytes.toString('utf8', headerBytes));
  } catch {
    return 'it is no JSON';
  }
  try {
    return { id: bytes[1]!, statement: statementIn(fields(said)) };
  } catch (error) {
    return error instanceof Unfit ? error.message : 'it makes no sense';
  }
}

/** The same where messages of connection sync come to the port as well (sync_ports): undefined for one of those. */
export function statementAmongMessages(bytes: Buffer): ReturnType<typeof decodeStatement> | undefined {
  const said = decodeStatement(bytes);
  if (typeof said !== 'string') return said;
  const message = decodeMessage(bytes);
  // Of version 0 without connections is to that protocol what it does not know.
  const isMessage =
    isEnd(bytes) ||
    decodeAgain(bytes) !== undefined ||
    (typeof message !== 'string' && (message.version === 1 || message.connections.length > 0));
  return isMessage ? undefined : said;
}

class Unfit extends Error {}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unfit('it lacks something');
  return value as Fields;
}

/** Text is shown to people: what would move their cursor does not get through. */
function text(value: unknown): string {
  if (typeof value !== 'string') throw new Unfit('it lacks a text');
  return value.slice(0, longestText).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
}

function amount(value: unknown, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !(value >= 0 && value <= most)) throw new Unfit('it lacks a number');
  return value;
}

function truth(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new Unfit('it lacks a yes or no');
  return value;
}

function oneOf<Word extends string>(value: unknown, words: readonly Word[]): Word {
  const found = words.find((word) => word === value);
  if (found === undefined) throw new Unfit('it has a word that is unknown here');
  return found;
}

function list(value: unknown, most: number): readonly Fields[] {
  if (!Array.isArray(value)) throw new Unfit('it lacks a list');
  return value.slice(0, most).map(fields);
}

function statementIn(said: Fields): PeerStatement {
  const configuration = fields(said.configuration);
  return {
    host: text(said.host),
    version: text(said.version),
    vrrp: list(said.vrrp, mostInstances).map(instanceIn),
    sync: list(said.sync, mostSync).map(syncIn),
    configuration: {
      generation: amount(configuration.generation),
      services: text(configuration.services),
      failed: truth(configuration.failed),
    },
  };
}

function instanceIn(said: Fields): PeerInstance {
  return {
    name: text(said.name),
    state: oneOf(said.state, ['fault', 'backup', 'master']),
    reason: text(said.reason),
    forMs: amount(said.forMs),
    priority: amount(said.priority, 255),
    ...(said.master !== undefined && { master: masterIn(fields(said.master)) }),
    ...(said.standsBack === true && { standsBack: true as const }),
  };
}

function masterIn(said: Fields): NonNullable<VrrpStatus['master']> {
  const source = parseAddress(text(said.source));
  if (source === undefined) throw new Unfit('it lacks an address');
  return { source, priority: amount(said.priority, 255), agoMs: amount(said.agoMs) };
}

function syncIn(said: Fields): PeerSync {
  return {
    role: oneOf(said.role, ['master', 'backup']),
    ...(said.lagMs !== undefined && { lagMs: amount(said.lagMs) }),
    ...(said.silentMs !== undefined && { silentMs: amount(said.silentMs) }),
  };
}
