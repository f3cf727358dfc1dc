import { isDeepStrictEqual } from 'node:util';
import {
  CST,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  type Node,
  parseDocument,
  type Scalar,
  visit,
} from 'yaml';
import { HeadgateError } from '../model/errors.ts';
import type { Path } from './tree.ts';
import { plainScalar } from './variables.ts';

/** What can be written into a configuration. */
export type Writable =
  | string
  | number
  | boolean
  | null
  | readonly Writable[]
  | { readonly [key: string]: Writable };

/**
 * The text of a YAML file with the value at `path` set, or taken out where `value` is undefined; maps that are missing on
 * the way are made, and an index one behind the end of a list appends. Comments stay, apart from those inside of what is
 * replaced. Where a scalar takes the place of another nothing else changes, not even a blank.
 *
 * Throws HG_CONFIG_EDIT where the text is not YAML, where the path does not fit, where an alias shares what would be
 * changed, and rather than return a text that says anything else than it should.
 */
export function editDocument(text: string, path: Path, value: Writable | undefined): string {
  const document = parsed(text, path);
  refuseShared(document, path);
  const target = path.length === 0 ? document.contents : document.getIn(path, true);
  if (target === undefined && value === undefined) return text;
  const wanted = written(value);
  const expected = expectation(document, path, wanted);
  const spliced = isScalar(target) && isSingle(wanted) ? splice(text, target, wanted) : undefined;
  if (spliced !== undefined && saysSo(spliced, expected)) return spliced;
  const gone = stretchOf(text, target, wanted);
  const rewritten = rewrite(text, document, path, wanted);
  if (saysSo(rewritten, expected) && keepsComments(text, rewritten, gone)) return rewritten;
  throw refusal(path, 'the text around it does not allow it');
}

const shown = (path: Path) => path.map((step) => (typeof step === 'number' ? `[${step}]` : step)).join('.');

function refusal(path: Path, why: string): HeadgateError {
  return new HeadgateError('HG_CONFIG_EDIT', `Cannot change "${shown(path)}": ${why}`);
}

/** Duplicate keys are refused as well: nobody can tell which of them is meant. */
function parsed(text: string, path: Path): Document.Parsed {
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error' });
  const [error] = document.errors;
  if (error) throw refusal(path, `wanted YAML, found ${error.message}`);
  return document;
}

/** What YAML has to hold, so that reading it puts no variable in. */
function written(value: Writable | undefined): Writable | undefined {
  if (typeof value === 'string') return value.replaceAll('${', () => '$${');
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => written(item)!);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, written(inner)!]));
}

const isSingle = (value: Writable | undefined): value is string | number | boolean | null =>
  value !== undefined && (value === null || typeof value !== 'object');

/** What the text should say afterwards. */
function expectation(document: Document.Parsed, path: Path, value: Writable | undefined): unknown {
  const whole = { root: valuesOf(document) };
  let parent: unknown = whole;
  let key: string | number = 'root';
  for (const step of path) {
    const values = parent as Record<string | number, unknown>;
    if (values[key] === null || values[key] === undefined) values[key] = {};
    parent = values[key];
    if (typeof parent !== 'object' || (Array.isArray(parent) && !fits(parent, step, value)))
      throw refusal(path, `there is no place "${step}"`);
    key = Array.isArray(parent) ? step : String(step);
  }
  if (Array.isArray(parent) && value === undefined) parent.splice(key as number, 1);
  else if (value === undefined) delete (parent as Record<string, unknown>)[key];
  else (parent as Record<string | number, unknown>)[key] = value;
  return whole.root;
}

function fits(list: readonly unknown[], step: string | number, value: Writable | undefined): boolean {
  if (typeof step !== 'number' || !Number.isInteger(step) || step < 0) return false;
  return step < list.length || (step === list.length && value !== undefined);
}

/** Own values of each place: an alias is its name, so that nothing is shared. */
function valuesOf(document: Document.Parsed): unknown {
  const read = (node: unknown): unknown => {
    if (isAlias(node)) return { '*': node.source };
    if (isScalar(node)) return node.value;
    if (isSeq(node)) return node.items.map(read);
    if (!isMap(node)) return null;
    return Object.fromEntries(
      node.items.map(({ key, value }) => [
        isScalar(key) ? String(key.value) : JSON.stringify(read(key)),
        read(value),
      ]),
    );
  };
  return read(document.contents);
}

function saysSo(text: string, expected: unknown): boolean {
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error' });
  if (document.errors.length > 0) return false;
  return isDeepStrictEqual(valuesOf(document) ?? {}, expected ?? {});
}

/** An alias on the way, or one that names something on the way, would change the value in another place as well. */
function refuseShared(document: Document.Parsed, path: Path): void {
  const used = new Set<string>();
  visit(document, { Alias: (_, { source }) => void used.add(source) });
  let node: unknown = document.contents;
  for (const step of [undefined, ...path]) {
    if (step !== undefined) node = isCollection(node) ? node.get(step, true) : undefined;
    if (isAlias(node)) throw refusal(path, `it is shared, through the alias "*${node.source}"`);
    const anchor = isScalar(node) || isCollection(node) ? node.anchor : undefined;
    if (anchor !== undefined && used.has(anchor))
      throw refusal(path, `it is shared, as the anchor "&${anchor}"`);
  }
}

/** The text with one scalar in place of another; undefined where that one takes several lines or none. */
function splice(text: string, target: Scalar, value: string | number | boolean | null): string | undefined {
  const [start, end] = target.range ?? [0, 0];
  if (start === end || text.slice(start, end).includes('\n') || target.anchor !== undefined) return undefined;
  return `${text.slice(0, start)}${scalarText(value)}${text.slice(end)}`;
}

function scalarText(value: string | number | boolean | null): string {
  if (typeof value !== 'string') return String(value);
  const isPlain = /^[A-Za-z0-9/_.][\w./:*-]*$/.test(value) && !value.endsWith(':');
  return isPlain && plainScalar(value) === value ? value : JSON.stringify(value);
}

type Stretch = { readonly from: number; readonly to: number };

/** Where the comments stand that may go with a value: inside of it, and with one that is taken out the lines above it. */
function stretchOf(text: string, target: unknown, value: Writable | undefined): Stretch {
  if (!isNode(target) || !target.range) return { from: 0, to: 0 };
  const [start, , to] = target.range;
  if (value !== undefined) return { from: start, to };
  let from = text.lastIndexOf('\n', start - 1) + 1;
  for (;;) {
    const above = text.lastIndexOf('\n', from - 2) + 1;
    if (from === 0 || !/^\s*(?:#.*)?$/.test(text.slice(above, from).trimEnd())) return { from, to };
    from = above;
  }
}

/** Whether every comment of a text that stands outside of a stretch is in the other text as well. */
function keepsComments(before: string, after: string, gone: Stretch): boolean {
  const left = new Map<string, number>();
  for (const { text } of commentsOf(after)) left.set(text, (left.get(text) ?? 0) + 1);
  for (const { text, offset } of commentsOf(before)) {
    if (offset >= gone.from && offset < gone.to) continue;
    const count = left.get(text) ?? 0;
    if (count === 0) return false;
    left.set(text, count - 1);
  }
  return true;
}

function commentsOf(text: string): { text: string; offset: number }[] {
  const found: { text: string; offset: number }[] = [];
  let offset = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme === CST.DOCUMENT || lexeme === CST.FLOW_END || lexeme === CST.SCALAR) continue;
    if (CST.tokenType(lexeme) === 'comment') found.push({ text: lexeme.trimEnd(), offset });
    offset += lexeme.length;
  }
  return found;
}

/** A node with the comments around the one whose place it takes. */
function commented(node: Node, before: unknown): Node {
  if (!isNode(before)) return node;
  node.commentBefore = before.commentBefore ?? null;
  node.comment = before.comment ?? null;
  node.spaceBefore = before.spaceBefore ?? false;
  return node;
}

function rewrite(text: string, document: Document.Parsed, path: Path, value: Writable | undefined): string {
  try {
    if (path.length === 0) document.contents = document.createNode(value) as Document.Parsed['contents'];
    else if (value === undefined) document.deleteIn(path);
    else document.setIn(path, commented(document.createNode(value), document.getIn(path, true)));
  } catch (error) {
    throw refusal(path, error instanceof Error ? error.message : String(error));
  }
  const result = document.toString({ lineWidth: 0, flowCollectionPadding: true });
  const lines = text.includes('\r\n') ? result.replaceAll('\n', '\r\n') : result;
  return text.startsWith('\ufeff') ? `\ufeff${lines}` : lines;
}
