import { Composer, CST, type Document, Lexer, Parser, type YAMLError } from 'yaml';
import type { Problem } from '../model/errors.ts';
import { lineOf, problemAt, type Source } from '../model/problem.ts';
import { limits } from './limits.ts';
import { guardVariables } from './variables.ts';

/** The document of a YAML text, undefined where it could not be told what the text means; and what is wrong with it. */
export type Parsed = { readonly document?: Document.Parsed; readonly problems: Problem[] };

/** Parses a text of one YAML 1.2 document. Duplicate keys, aliases and tags are left to who reads the document. */
export function parseYaml(source: Source): Parsed {
  const problems = strangeSigns(source);
  // A sign that looks like a space was meant as one; so the rest of the file can be judged as well.
  const text = guardVariables(problems.length === 0 ? source.text : blankedText(source, problems));
  const composer = new Composer({ uniqueKeys: false, version: '1.2', schema: 'core', logLevel: 'error' });
  let document: Document.Parsed | undefined;
  const errors: YAMLError[] = [];
  try {
    for (const found of composer.compose(tokensOf(text), true, text.length)) {
      if (document === undefined) document = found as Document.Parsed;
      else problems.push(secondDocument(source, found.range[0]));
      errors.push(...found.errors);
    }
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    const span = { source, start: error.offset, end: error.offset + 1 };
    const message = `value: nested deeper than ${limits.depth} levels`;
    return { problems: [...problems, problemAt(span, 'HG_CONFIG_SIZE', message)] };
  }
  if (errors.length === 0 && document !== undefined) return { document, problems };
  // With a tab in it the indentation means something else to the parser, so that what follows says nothing.
  const tabs = errors.some(({ code }) => code === 'TAB_AS_INDENT') ? tabbedLines(source) : [];
  return { problems: [...problems, ...(tabs.length > 0 ? tabs : firstOfLines(errors, source))] };
}

function tabbedLines(source: Source): Problem[] {
  return [...source.text.matchAll(/^ *\t[\t ]*(?=[^\s#])/gm)].map(({ 0: blanks, index }) =>
    problemAt(
      { source, start: index + blanks.indexOf('\t'), end: index + blanks.length },
      'HG_CONFIG_SYNTAX',
      'indentation: wanted spaces, found a tab',
      'replace each tab by two spaces',
    ),
  );
}

/** Of the errors of each line the first one; the others mostly follow from it. */
function firstOfLines(errors: readonly YAMLError[], source: Source): Problem[] {
  const found = new Map<number, Problem>();
  for (const error of errors) {
    const line = lineOf(source, error.pos[0]);
    if (!found.has(line)) found.set(line, problemOfYaml(error, source));
  }
  return [...found.values()];
}

class TooDeep extends Error {
  readonly offset: number;

  constructor(offset: number) {
    super('nested too deeply');
    this.offset = offset;
  }
}

function* tokensOf(text: string): Generator<CST.Token> {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    // The document itself is on the stack as well.
    if (parser.stack.length > limits.depth + 1) throw new TooDeep(parser.offset - lexeme.length);
  }
  yield* parser.end();
}

/** Spaces that are none, and control characters; tabs are judged by the parser. */
const strange = /[\p{Zl}\p{Zp}\p{Cf}]|(?! )\p{Zs}|(?![\t\n\r])\p{Cc}/u;

/** Whether a text has signs that are no part of what people type. */
export function hasStrangeSigns(text: string): boolean {
  return unusual.test(text) && strange.test(text);
}

/** What is not even ASCII's: found in no time, where classes of Unicode take a while. */
const unusual = /[^\t\n\r -~]/;

/** A problem for each line in which such a sign stands outside quotes, block scalars and comments. */
function strangeSigns(source: Source): Problem[] {
  if (!strange.test(source.text)) return [];
  const problems: Problem[] = [];
  const lines = new Set<number>();
  for (const { text, offset } of unquoted(source.text)) {
    for (const found of text.matchAll(new RegExp(strange, 'gu'))) {
      const start = offset + found.index;
      if (lines.has(lineOf(source, start))) continue;
      lines.add(lineOf(source, start));
      const span = { source, start, end: start + found[0].length };
      const message = `text: wanted a plain space or nothing, found ${signName(found[0])}`;
      const hint = 'delete it, or replace it by a space; what is meant as text goes into quotes';
      problems.push(problemAt(span, 'HG_CONFIG_CHARACTER', message, hint));
    }
  }
  return problems;
}

/** The parts of a YAML text that are neither comments nor quoted nor block scalars. */
function* unquoted(text: string): Generator<{ text: string; offset: number }> {
  let offset = 0;
  let previous: string | null = null;
  for (const lexeme of new Lexer().lex(text)) {
    const type: string | null = previous === CST.SCALAR ? 'scalar' : CST.tokenType(lexeme);
    if (lexeme === CST.DOCUMENT || lexeme === CST.FLOW_END || lexeme === CST.SCALAR) {
      previous = lexeme === CST.SCALAR && previous === 'block' ? 'block' : lexeme;
      continue;
    }
    const block = previous === 'block';
    if (!block && type !== 'comment' && !/^['"]/.test(lexeme)) yield { text: lexeme, offset };
    offset += lexeme.length;
    if (type !== 'newline' && type !== 'space' && type !== 'comment')
      previous = type === 'block-scalar-header' ? 'block' : null;
  }
}

/** The text with the strange signs of the lines that have problems made plain spaces; offsets stay. */
function blankedText(source: Source, problems: readonly Problem[]): string {
  const lines = new Set(problems.map(({ at }) => at.line - 1));
  return source.lineStarts
    .map((start, line) => {
      const part = source.text.slice(start, source.lineStarts[line + 1] ?? source.text.length);
      return lines.has(line)
        ? part.replaceAll(new RegExp(strange, 'gu'), (sign) => ' '.repeat(sign.length))
        : part;
    })
    .join('');
}

function signName(sign: string): string {
  const code = `U+${sign.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
  const names: Readonly<Record<string, string>> = {
    'U+00A0': 'a no-break space',
    'U+200B': 'a space without width',
    'U+202F': 'a narrow no-break space',
    'U+3000': 'an ideographic space',
    'U+FEFF': 'a byte order mark',
  };
  const kind = /\p{Zs}/u.test(sign) ? 'another kind of space' : 'a sign that is not text';
  return `${names[code] ?? kind} (${code})`;
}

function secondDocument(source: Source, start: number): Problem {
  return problemAt(
    { source, start, end: start + 1 },
    'HG_CONFIG_SYNTAX',
    'file: wanted one document, found a second one',
    'remove "---", or make a file of the second one and include it',
  );
}

/** `[` begins a list in YAML, which is seldom what is meant by it before an address. */
export const quoteHint = 'put quotes around an IPv6 address in brackets: "[2001:db8::10]:80"';

function problemOfYaml({ message, pos }: YAMLError, source: Source): Problem {
  const span = { source, start: pos[0], end: Math.max(pos[1], pos[0] + 1) };
  const line = source.text.slice(source.text.lastIndexOf('\n', pos[0] - 1) + 1, pos[1]);
  if (/\[[0-9a-f]*:[0-9a-f:.]*\]:?/i.test(line))
    return problemAt(span, 'HG_CONFIG_SYNTAX', `text: not YAML: ${lowered(message)}`, quoteHint);
  return problemAt(span, 'HG_CONFIG_SYNTAX', `text: not YAML: ${lowered(message)}`);
}

function lowered(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1).replace(/\.$/, '').split('\n')[0]!;
}
