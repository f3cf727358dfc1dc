import type { Problem } from '../../../model/errors.ts';
import { problemAt, type Span } from '../../../model/problem.ts';
import { suggest } from '../../../model/suggest.ts';
import { type BlockName, grammar } from './grammar.ts';
import type { Notes } from './notes.ts';
import { type Line, type Word, wordsOf } from './words.ts';

/** A keyword with what belongs to it. */
export type Statement = {
  readonly keyword: string;
  readonly span: Span;
  /** The words behind the keyword. */
  readonly words: readonly Word[];
  /** The line as it stands, for commands and regular expressions. */
  readonly line: Line;
  /** Of a block of keywords: what stands in it. */
  readonly statements: readonly Statement[];
  /** Of a block of lines: their words. */
  readonly values: readonly Value[];
};

/** A line of a block of lines. */
export type Value = { readonly words: readonly Word[]; readonly line: Line; readonly span: Span };

type Cursor = { readonly lines: readonly Line[]; at: number; unknown: number };

/** How many unknown keywords get a suggestion, which takes time. */
const mostSuggestions = 100;
type Told = { readonly notes: Notes; readonly problems: Problem[] };

/**
 * The statements of a file. Unknown keywords are left out, with their blocks, and noted; braces too many or too few are
 * noted as well. Nothing is thrown.
 */
export function readStatements(lines: readonly Line[], told: Told): readonly Statement[] {
  const cursor: Cursor = { lines, at: 0, unknown: 0 };
  const statements: Statement[] = [];
  while (cursor.at < lines.length) statements.push(...readBlock('root', cursor, told, false));
  return statements;
}

/** What stands up to the brace that ends the block, or up to the end of the file. */
function readBlock(name: BlockName, cursor: Cursor, told: Told, nested: boolean): Statement[] {
  const entries = grammar[name];
  const statements: Statement[] = [];
  for (let line = cursor.lines[cursor.at]; line; line = cursor.lines[cursor.at]) {
    cursor.at++;
    if (line.text === '}') {
      if (nested) return statements;
      told.notes.wrong('ignored', line.span, 'a closing brace too many');
      continue;
    }
    if (line.text === '{') {
      told.notes.wrong('ignored', line.span, 'a block that belongs to no keyword');
      skipBlock(cursor, told, 'it stands in a block that belongs to no keyword');
      continue;
    }
    const { words, open } = wordsOf(line);
    if (open)
      told.notes.wrong('changed', line.span, 'a quote is not closed: the rest of the line is left out');
    const [first, ...rest] = words;
    if (!first) continue;
    const entry = Object.hasOwn(entries, first.text) ? entries[first.text]! : undefined;
    const statement = {
      keyword: first.text,
      span: first.span,
      words: rest,
      line,
      statements: [],
      values: [],
    };
    if (entry === undefined) unknown(first, name, cursor, told);
    else if (entry === 'word') {
      statements.push(statement);
      if (!opens(cursor)) continue;
      told.notes.wrong('ignored', cursor.lines[cursor.at++]!.span, `"${first.text}" has no block`);
      skipBlock(cursor, told, `it stands in a block, and "${first.text}" has none`);
    } else {
      if (opens(cursor)) cursor.at++;
      else
        told.notes.wrong(
          'changed',
          first.span,
          `no brace opens the block "${first.text}": taken as if there were one`,
        );
      if (entry === 'values') statements.push({ ...statement, values: readValues(cursor, told) });
      else statements.push({ ...statement, statements: readBlock(entry.block, cursor, told, true) });
    }
  }
  if (nested) missingBrace(cursor, told);
  return statements;
}

const opens = (cursor: Cursor): boolean => cursor.lines[cursor.at]?.text === '{';

function missingBrace({ lines }: Cursor, { notes }: Told): void {
  const last = lines.at(-1);
  if (last) notes.wrong('changed', last.span, 'a closing brace is missing: the file ends inside a block');
}

function readValues(cursor: Cursor, told: Told): Value[] {
  const values: Value[] = [];
  for (let line = cursor.lines[cursor.at]; line; line = cursor.lines[cursor.at]) {
    cursor.at++;
    if (line.text === '}') return values;
    if (line.text === '{') {
      told.notes.wrong('ignored', line.span, 'a block in a block of lines');
      skipBlock(cursor, told, 'it stands in a block in a block of lines');
      continue;
    }
    const { words } = wordsOf(line);
    if (words.length > 0) values.push({ words, line, span: line.span });
  }
  missingBrace(cursor, told);
  return values;
}

/** An unknown keyword is passed over with its block. */
function unknown(word: Word, name: BlockName, cursor: Cursor, told: Told): void {
  const places = Object.entries(grammar).filter(([, entries]) => Object.hasOwn(entries, word.text));
  const asks = cursor.unknown++ < mostSuggestions;
  const near = asks ? suggest(word.text, Object.keys(grammar[name])) : undefined;
  const more =
    places.length > 0
      ? `; it stands in ${places
          .map(([place]) => place)
          .slice(0, 3)
          .join(', ')}`
      : near === undefined
        ? ''
        : `; did you mean "${near}"?`;
  const where = name === 'root' ? 'the top' : name;
  const shown = word.text.length > 40 ? `${word.text.slice(0, 37)}...` : word.text;
  told.notes.wrong('ignored', word.span, `keyword "${shown}" is not known in ${where}${more}`);
  if (!opens(cursor)) return;
  cursor.at++;
  skipBlock(cursor, told, `it stands in the unknown block "${shown}"`);
}

/** Passes over what stands up to the brace that ends a block. */
function skipBlock(cursor: Cursor, { notes }: Told, reason: string): void {
  for (let depth = 1; cursor.at < cursor.lines.length && depth > 0; cursor.at++) {
    const line = cursor.lines[cursor.at]!;
    if (line.text === '{') depth++;
    else if (line.text === '}') depth--;
    else notes.ignored(line.span, reason);
  }
}

/** The problem of a keyword that lacks what must follow: keepalived ends at it. */
export function missingWord({ keyword, span }: Statement, wanted: string): Problem {
  return problemAt(span, 'HG_CONFIG_RULE', `"${keyword}": wanted ${wanted}, found none`);
}
