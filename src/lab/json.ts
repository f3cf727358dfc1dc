/** JSON with the place of every value, for messages that say where. */

/** Where something stands in a text; both count from 1. */
export type Place = { readonly line: number; readonly column: number };

export type JsonMember = { readonly key: string; readonly at: Place; readonly value: JsonNode };
export type JsonNode = { readonly at: Place } & (
  | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'null' }
);

/** A text that is not JSON (RFC 8259): where, what was wanted there and what was found. */
export class JsonError extends Error {
  readonly at: Place;

  constructor(at: Place, message: string) {
    super(message);
    this.name = 'JsonError';
    this.at = at;
  }
}

const deepest = 64;

/** Parses a JSON text. A key that is used twice in an object is an error here. Throws JsonError. */
export function parseJson(text: string): JsonNode {
  const scanner = { text, offset: text.startsWith('\ufeff') ? 1 : 0 };
  skipBlanks(scanner);
  const node = readValue(scanner, 0);
  skipBlanks(scanner);
  if (scanner.offset < text.length) throw unexpected(scanner, 'the end of the file');
  return node;
}

type Scanner = { readonly text: string; offset: number };

function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

function unexpected({ text, offset }: Scanner, wanted: string): JsonError {
  const found =
    offset >= text.length ? 'the end of the file' : `"${String.fromCodePoint(text.codePointAt(offset)!)}"`;
  return new JsonError(placeOf(text, offset), `wanted ${wanted}, found ${found}`);
}

function skipBlanks(scanner: Scanner): void {
  while (' \t\r\n'.includes(scanner.text[scanner.offset] ?? 'end')) scanner.offset++;
}

/** Takes `sign` if it comes next, blanks before it and after it included. */
function take(scanner: Scanner, sign: string): boolean {
  skipBlanks(scanner);
  if (scanner.text[scanner.offset] !== sign) return false;
  scanner.offset++;
  skipBlanks(scanner);
  return true;
}

function readValue(scanner: Scanner, depth: number): JsonNode {
  const at = placeOf(scanner.text, scanner.offset);
  if (depth > deepest) throw new JsonError(at, `nested deeper than ${deepest} levels`);
  const sign = scanner.text[scanner.offset];
  if (sign === '{') return { at, kind: 'object', members: readMembers(scanner, depth) };
  if (sign === '[') return { at, kind: 'array', items: readItems(scanner, depth) };
  if (sign === '"') return { at, kind: 'string', value: readString(scanner) };
  const rest = scanner.text.slice(scanner.offset, scanner.offset + 400);
  const word = /^(?:true|false|null)\b/.exec(rest)?.[0];
  if (word !== undefined) {
    scanner.offset += word.length;
    return word === 'null' ? { at, kind: 'null' } : { at, kind: 'boolean', value: word === 'true' };
  }
  const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])/.exec(rest)?.[0];
  if (number === undefined) throw unexpected(scanner, 'a value');
  scanner.offset += number.length;
  return { at, kind: 'number', value: Number(number) };
}

function readMembers(scanner: Scanner, depth: number): JsonMember[] {
  const members: JsonMember[] = [];
  take(scanner, '{');
  if (take(scanner, '}')) return members;
  for (;;) {
    const at = placeOf(scanner.text, scanner.offset);
    if (scanner.text[scanner.offset] !== '"') throw unexpected(scanner, 'a key in quotes');
    const key = readString(scanner);
    if (members.some((member) => member.key === key)) throw new JsonError(at, `key "${key}": used twice`);
    if (!take(scanner, ':')) throw unexpected(scanner, '":"');
    members.push({ key, at, value: readValue(scanner, depth + 1) });
    if (take(scanner, '}')) return members;
    if (!take(scanner, ',')) throw unexpected(scanner, '"," or "}"');
  }
}

function readItems(scanner: Scanner, depth: number): JsonNode[] {
  const items: JsonNode[] = [];
  take(scanner, '[');
  if (take(scanner, ']')) return items;
  for (;;) {
    items.push(readValue(scanner, depth + 1));
    if (take(scanner, ']')) return items;
    if (!take(scanner, ',')) throw unexpected(scanner, '"," or "]"');
  }
}

function readString(scanner: Scanner): string {
  const start = scanner.offset;
  let end = start + 1;
  while (end < scanner.text.length && scanner.text[end] !== '"' && scanner.text[end] !== '\n')
    end += scanner.text[end] === '\\' ? 2 : 1;
  scanner.offset = Math.min(end, scanner.text.length);
  if (scanner.text[end] !== '"') throw unexpected(scanner, 'a closing quote');
  scanner.offset = end + 1;
  try {
    return JSON.parse(scanner.text.slice(start, end + 1)) as string;
  } catch {
    throw new JsonError(
      placeOf(scanner.text, start),
      'a string with an escape or sign that JSON does not know',
    );
  }
}
