import type { Problem } from '../../../model/errors.ts';
import { lineOf, problemAt, type Source, type Span } from '../../../model/problem.ts';

/** A piece of a line, as it counts, and where it stands. */
export type Word = { readonly text: string; readonly span: Span };

/** A line that says something: `NAME = VALUE`; the value is undefined where there is no `=`. */
export type Line = {
  readonly name: Word;
  readonly value: Word | undefined;
  /** All of it, without what is around it. */
  readonly span: Span;
  /** Comments since the line before. */
  readonly comments: readonly string[];
  /** Whether there is an empty line between it and the line before. */
  readonly isApart: boolean;
};

/** The number of a line, from 1. */
export const lineNumber = ({ span }: Line): number => lineOf(span.source, span.start) + 1;

/** A line `virtual = ...` with the indented lines that belong to it. */
export type Section = { readonly head: Line; readonly lines: readonly Line[] };

/** The text of ldirectord.cf as lines, of which nothing is known but their form. */
export type Lines = {
  readonly globals: readonly Line[];
  readonly sections: readonly Section[];
  /** The first comments of the file, where an empty line sets them apart from the rest. */
  readonly header: readonly string[];
  readonly problems: readonly Problem[];
};

/** Blanks, each of one UTF-16 unit: no-break spaces come with lines from web pages. */
const blank = /[\t\r\f\v\u00a0\ufeff]/g;
const tabColumns = 4;

/**
 * Reads the lines. A line belongs to a virtual service when it is indented by four columns or more (a tab is four). An
 * empty line does not end a virtual service here, as it does in ldirectord.
 */
export function readLines(source: Source): Lines {
  const globals: Line[] = [];
  const sections: { head: Line; lines: Line[] }[] = [];
  const problems: Problem[] = [];
  let header: readonly string[] = [];
  let comments: string[] = [];
  let open: { head: Line; lines: Line[] } | undefined;
  let isApart = false;
  let isFirst = true;
  for (const start of source.lineStarts) {
    const end = source.text.indexOf('\n', start) < 0 ? source.text.length : source.text.indexOf('\n', start);
    const raw = source.text.slice(start, end);
    const plain = raw.replaceAll(blank, ' ');
    const content = plain.trim();
    if (content === '') {
      if (isFirst && comments.length > 0 && globals.length + sections.length === 0) {
        header = comments;
        comments = [];
        isFirst = false;
      }
      isApart = true;
      continue;
    }
    if (content.startsWith('#')) {
      comments.push(content.slice(1));
      continue;
    }
    isFirst = false;
    const indentation = plain.length - plain.trimStart().length;
    const columns = indentation + (tabColumns - 1) * tabsIn(raw.slice(0, indentation));
    const kept = withoutComment(content, indentation > 0);
    const line = dissected(kept, start + indentation, raw, indentation, source, { comments, isApart });
    comments = [];
    isApart = false;
    const misplaced = placeMistake(columns, open !== undefined);
    if (misplaced) problems.push(problemAt(line.span, 'HG_CONFIG_RULE', ...misplaced));
    else if (columns > 0) open?.lines.push(line);
    else if (/^virtual6?$/.test(line.name.text)) {
      open = { head: line, lines: [] };
      sections.push(open);
    } else {
      open = undefined;
      globals.push(line);
    }
  }
  return { globals, sections, header, problems };
}

function placeMistake(columns: number, isOpen: boolean): [message: string, hint: string] | undefined {
  if (columns === 0 || (columns >= tabColumns && isOpen)) return undefined;
  if (!isOpen)
    return [
      'line: wanted one that begins without blanks, or a line "virtual" above it, found neither',
      'begin the line without blanks, or put it below its "virtual" line',
    ];
  return [
    `line: wanted an indentation of a tab or ${tabColumns} blanks, found ${columns} blank${columns === 1 ? '' : 's'}`,
    'indent lines of a virtual service by a tab, and begin all others without blanks',
  ];
}

const tabsIn = (text: string): number => text.split('\t').length - 1;

/** In a virtual service `#` begins a comment wherever it stands; elsewhere behind a blank and outside of quotes. */
function withoutComment(content: string, isInSection: boolean): string {
  if (isInSection) return content.split('#', 1)[0]!.trimEnd();
  let quoted = false;
  for (let i = 0; i < content.length; i++) {
    if (content[i] === '"') quoted = !quoted;
    if (content[i] === '#' && !quoted && content[i - 1] === ' ') return content.slice(0, i).trimEnd();
  }
  return content;
}

function dissected(
  content: string,
  start: number,
  raw: string,
  indentation: number,
  source: Source,
  rest: Pick<Line, 'comments' | 'isApart'>,
): Line {
  const equals = content.indexOf('=');
  const name = (equals < 0 ? content : content.slice(0, equals)).trimEnd();
  const word = (from: number, length: number, text: string): Word => ({
    text,
    span: { source, start: start + from, end: start + from + Math.max(length, 1) },
  });
  const after = content.slice(equals + 1);
  const from = equals + 1 + after.length - after.trimStart().length;
  // Inside quotes tabs count as they do in ldirectord.
  const value = raw
    .slice(indentation + from, indentation + content.length)
    .replaceAll('\t', ' '.repeat(tabColumns))
    .replaceAll(blank, ' ');
  return {
    name: word(0, name.length, name),
    value: equals < 0 ? undefined : word(from, content.length - from, value),
    span: { source, start, end: start + Math.max(content.length, 1) },
    ...rest,
  };
}
