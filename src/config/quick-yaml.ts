import type { Source, Span } from '../model/problem.ts';
import { type Memory, recall, recallNext, remember } from './memory.ts';
import type { Member, TreeNode } from './tree.ts';

/** What the reader makes of a scalar: `value` as YAML has it before its type is found, without quotes. */
export type ReadScalar = (value: string, isPlain: boolean, span: Span) => TreeNode;

/**
 * Reads the part of YAML that nearly all of a configuration is written in, ten times as fast as a parser of the whole
 * language: block maps and lists, flow collections and scalars within a line, comments. Undefined for everything else,
 * mistakes included: that is for the other parser, which gives the same tree where this one gives one.
 *
 * `text` is the source's, with stand-ins for the braces of variables. Entries that `memory` has are taken from there.
 */
export function readQuickly(
  source: Source,
  text: string,
  scalar: ReadScalar,
  memory?: Memory,
): TreeNode | undefined {
  if (text.includes('\t') || text.includes('\r')) return undefined;
  try {
    const reader: Reader = { source, text, scalar, memory, at: 0, indent: 0, depth: 0 };
    toContent(reader);
    if (reader.at >= text.length) return undefined;
    const node = readBlock(reader);
    return reader.at >= text.length ? node : undefined;
  } catch (error) {
    if (error === declined) return undefined;
    throw error;
  }
}

const declined = Symbol('not in this part of YAML');
const deepest = 20;

type Reader = {
  readonly source: Source;
  readonly text: string;
  readonly scalar: ReadScalar;
  readonly memory: Memory | undefined;
  /** Where the next sign is that nobody has read. Between values: the first sign of a line's content, or the end. */
  at: number;
  /** The column of that sign, counted from 0. */
  indent: number;
  depth: number;
};

const decline = (): never => {
  throw declined;
};

/** Goes from the start of a line to the first content from there on. */
function toContent(reader: Reader): void {
  const { text } = reader;
  let line = reader.at;
  for (;;) {
    let at = line;
    while (text[at] === ' ') at++;
    if (at < text.length && text[at] !== '\n' && text[at] !== '#') {
      reader.at = at;
      reader.indent = at - line;
      return;
    }
    const end = text.indexOf('\n', at);
    if (end < 0) {
      reader.at = text.length;
      reader.indent = -1;
      return;
    }
    line = end + 1;
  }
}

/** Goes past blanks and a comment to the next content; whether there was nothing else in the line. */
function toNextLine(reader: Reader): boolean {
  const { text } = reader;
  let at = reader.at;
  while (text[at] === ' ') at++;
  if (text[at] === '#' && text[at - 1] !== ' ') return false;
  if (text[at] === '#') at = endOfLine(text, at);
  if (at < text.length && text[at] !== '\n') return false;
  reader.at = Math.min(at + 1, text.length);
  toContent(reader);
  return true;
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

const isEntry = ({ text, at }: Reader): boolean =>
  text[at] === '-' && (text[at + 1] === ' ' || text[at + 1] === '\n' || at + 1 === text.length);

function readBlock(reader: Reader): TreeNode {
  if (++reader.depth > deepest) decline();
  const node = isEntry(reader) ? readEntries(reader) : readKeys(reader);
  reader.depth--;
  return node;
}

function readEntries(reader: Reader): TreeNode {
  const { indent, at: start } = reader;
  const items: TreeNode[] = [];
  const { memory } = reader;
  while (reader.indent === indent && isEntry(reader))
    items.push(
      memory && reader.depth === depthOfTopLists
        ? entryBy(memory, reader, indent)
        : readEntry(reader, indent),
    );
  if (reader.indent > indent) decline();
  return { kind: 'list', span: spanFrom(reader, start), items };
}

/** The map a file is, and a list in it. */
const depthOfTopLists = 2;

function readEntry(reader: Reader, indent: number): TreeNode {
  reader.at++;
  if (toNextLine(reader)) {
    if (reader.indent <= indent) decline();
    return readBlock(reader);
  }
  const before = reader.at;
  while (reader.text[reader.at] === ' ') reader.at++;
  reader.indent = indent + 1 + reader.at - before;
  if (isEntry(reader)) decline();
  return keyAt(reader) === undefined ? readInline(reader, indent) : readBlock(reader);
}

/** An entry that may have been read before. It ends where a line begins that is no deeper than its dash. */
function entryBy(memory: Memory, reader: Reader, indent: number): TreeNode {
  const { text, at: start } = reader;
  const there = recallNext(memory, indent, text, start);
  if (there) {
    reader.at = start + there.text.length;
    reader.indent = there.nextIndent!;
    return there.node;
  }
  const end: Reader = { ...reader };
  do {
    end.at = endOfLine(text, end.at) + 1;
    toContent(end);
  } while (end.indent > indent);
  const chunk = text.slice(start, end.at);
  // What a variable stands for may have changed.
  if (chunk.includes('$')) return readEntry(reader, indent);
  const known = recall(memory, indent, chunk);
  if (known) {
    reader.at = end.at;
    reader.indent = end.indent;
    return known;
  }
  // From a text of its own: what is kept must not keep a whole file in memory, once for each change of it.
  const alone: Reader = { ...reader, source: nowhere, text: ' '.repeat(indent) + chunk, at: indent };
  const node = readEntry(alone, indent);
  if (alone.at < alone.text.length) decline();
  remember(memory, indent, chunk, node);
  reader.at = end.at;
  reader.indent = end.indent;
  return node;
}

/** Where what is remembered stands: places in it are never shown. */
const nowhere: Source = { name: '', text: '', lineStarts: [0] };

/** A plain key with the colon behind it, in the line or between braces. */
const keyForm = /([A-Za-z_][\w.-]*):(?=[ \n]|$)/y;

function keyAt({ text, at }: Reader): string | undefined {
  keyForm.lastIndex = at;
  const key = keyForm.exec(text)?.[1];
  return key !== undefined && /^null$/i.test(key) ? decline() : key;
}

function readKeys(reader: Reader): TreeNode {
  const { indent, at: start } = reader;
  const members = new Map<string, Member>();
  while (reader.indent === indent) {
    const key = keyAt(reader) ?? decline();
    if (members.has(key)) decline();
    const keySpan = { source: reader.source, start: reader.at, end: reader.at + key.length };
    reader.at = keySpan.end + 1;
    members.set(key, { keySpan, value: readMember(reader, indent, keySpan) });
  }
  if (reader.indent > indent) decline();
  return { kind: 'map', span: spanFrom(reader, start), members };
}

/** The value of a key in a block: in its line, or in the lines below; a list may be no deeper than its key. */
function readMember(reader: Reader, indent: number, keySpan: Span): TreeNode {
  if (!toNextLine(reader)) {
    reader.at++;
    return readInline(reader, indent);
  }
  if (reader.indent > indent || (reader.indent === indent && isEntry(reader))) return readBlock(reader);
  return { kind: 'scalar', span: keySpan, value: null };
}

/** A value and the rest of its line; the lines below must not belong to it. */
function readInline(reader: Reader, indent: number): TreeNode {
  const { text } = reader;
  while (text[reader.at] === ' ') reader.at++;
  const sign = text[reader.at];
  const node =
    sign === '[' || sign === '{'
      ? readFlow(reader)
      : sign === '"' || sign === "'"
        ? readQuoted(reader)
        : readPlain(reader, endOfLine(text, reader.at));
  if (!toNextLine(reader) || reader.indent > indent) decline();
  return node;
}

function spanFrom({ source, at }: Reader, start: number): Span {
  return { source, start, end: at };
}

/** What may not begin a plain scalar (YAML 1.2, 7.3.3); `-`, `?` and `:` may, but not before a blank. */
const indicator = /[,[\]{}#&*!|>'"%@`]|[-?:](?:[ ,[\]{}]|$)/my;

/** A plain scalar that ends at `end` at the latest, or before a comment. */
function readPlain(reader: Reader, end: number): TreeNode {
  const { text, source, at: start } = reader;
  indicator.lastIndex = start;
  if (indicator.test(text)) decline();
  let value = text.slice(start, end);
  const comment = value.indexOf(' #');
  if (comment >= 0) value = value.slice(0, comment);
  value = value.trimEnd();
  if (value === '' || value.includes(': ') || value.endsWith(':')) decline();
  reader.at = start + value.length;
  return reader.scalar(value, true, { source, start, end: reader.at });
}

function readQuoted(reader: Reader): TreeNode {
  const { text, source, at: start } = reader;
  const quote = text[start]!;
  const end = text.indexOf(quote, start + 1);
  const value = text.slice(start + 1, end);
  if (end < 0 || value.includes('\n') || value.includes('\\') || text[end + 1] === quote) decline();
  reader.at = end + 1;
  return reader.scalar(value, false, { source, start, end: end + 1 });
}

function readFlow(reader: Reader): TreeNode {
  if (++reader.depth > deepest) decline();
  const node = reader.text[reader.at] === '[' ? readFlowList(reader) : readFlowMap(reader);
  reader.depth--;
  return node;
}

function readFlowList(reader: Reader): TreeNode {
  const start = reader.at++;
  const items: TreeNode[] = [];
  if (nextIs(reader, ']')) return { kind: 'list', span: spanFrom(reader, start), items };
  do items.push(readFlowValue(reader));
  while (nextIs(reader, ','));
  if (!nextIs(reader, ']')) decline();
  return { kind: 'list', span: spanFrom(reader, start), items };
}

function readFlowMap(reader: Reader): TreeNode {
  const start = reader.at++;
  const members = new Map<string, Member>();
  if (nextIs(reader, '}')) return { kind: 'map', span: spanFrom(reader, start), members };
  do {
    while (reader.text[reader.at] === ' ') reader.at++;
    const key = keyAt(reader) ?? decline();
    if (members.has(key)) decline();
    const keySpan = { source: reader.source, start: reader.at, end: reader.at + key.length };
    reader.at = keySpan.end + 1;
    members.set(key, { keySpan, value: readFlowValue(reader) });
  } while (nextIs(reader, ','));
  if (!nextIs(reader, '}')) decline();
  return { kind: 'map', span: spanFrom(reader, start), members };
}

/** Takes a sign if it is the next one that is no blank. */
function nextIs(reader: Reader, sign: string): boolean {
  let { at } = reader;
  while (reader.text[at] === ' ') at++;
  if (reader.text[at] !== sign) return false;
  reader.at = at + 1;
  return true;
}

const flowEnd = /[,[\]{}\n]/g;

function readFlowValue(reader: Reader): TreeNode {
  const { text } = reader;
  while (text[reader.at] === ' ') reader.at++;
  const sign = text[reader.at];
  if (sign === '[' || sign === '{') return readFlow(reader);
  if (sign === '"' || sign === "'") return readQuoted(reader);
  flowEnd.lastIndex = reader.at;
  const node = readPlain(reader, flowEnd.exec(text)?.index ?? decline());
  if (text[reader.at] === '[' || text[reader.at] === '{') decline();
  return node;
}
