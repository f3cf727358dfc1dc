import type { Span } from '../../../model/problem.ts';

/** A word and the place that says it: of text that was put in, the line it was put into. */
export type Word = { readonly text: string; readonly span: Span };

/** A line as keepalived acts on it: comments gone, parameters put in, cut at braces. */
export type Line = {
  readonly text: string;
  /** The place of the text, or the whole line of the file where the text is not what stands there. */
  readonly span: Span;
  /** Whether the text stands there as it is, so that its words have places of their own. */
  readonly exact: boolean;
};

/** What stands between words. keepalived does not take no-break spaces for blanks; they come with pasted lines. */
const blanks = ' \t\f\r\v\u00a0\ufeff';

const isBlank = (sign: string | undefined): boolean => sign !== undefined && blanks.includes(sign);

/** The words of a line: blanks part them, double quotes hold them together. An open quote ends with the line. */
export function wordsOf(line: Line): { words: readonly Word[]; open: boolean } {
  const { text } = line;
  const words: Word[] = [];
  for (let at = 0; ; ) {
    while (isBlank(text[at])) at++;
    if (at >= text.length) return { words, open: false };
    const quoted = text[at] === '"';
    let end = quoted ? text.indexOf('"', at + 1) : at;
    if (end < 0) return { words, open: true };
    if (!quoted) while (end < text.length && !isBlank(text[end]) && text[end] !== '"') end++;
    const from = quoted ? at + 1 : at;
    words.push({ text: text.slice(from, end), span: part(line, from, end) });
    at = quoted ? end + 1 : end;
  }
}

/**
 * The words of a command or a regular expression: single and double quotes hold together, inside of a word too, and a
 * backslash stands for the sign behind it or for a special one, as in C. Undefined where a quote or escape is open.
 */
export function escapedWords(line: Line): readonly Word[] | undefined {
  const { text } = line;
  const words: Word[] = [];
  for (let at = 0; ; ) {
    while (isBlank(text[at])) at++;
    if (at >= text.length) return words;
    const start = at;
    let word = '';
    let quote = '';
    while (at < text.length && (quote !== '' || !isBlank(text[at]))) {
      const sign = text[at]!;
      if (sign === '\\') {
        const read = readEscape(text, at + 1);
        if (!read) return undefined;
        word += read.value;
        at = read.end;
      } else {
        if (sign === quote) quote = '';
        else if (quote === '' && (sign === '"' || sign === "'")) quote = sign;
        else word += sign;
        at++;
      }
    }
    if (quote !== '') return undefined;
    words.push({ text: word, span: part(line, start, at) });
  }
}

const escapes: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', E: '\x1b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
};

/** What follows a backslash; `at` is behind it. */
function readEscape(text: string, at: number): { value: string; end: number } | undefined {
  const sign = text[at];
  if (sign === undefined) return undefined;
  const hex = /^x([0-9a-fA-F]+)/.exec(text.slice(at, at + 16));
  // As many digits as there are; one byte is kept of them.
  if (hex) return { value: byte(Number.parseInt(hex[1]!.slice(-2), 16)), end: at + hex[0].length };
  const octal = /^[0-7]{1,3}/.exec(text.slice(at, at + 3));
  if (octal) return { value: byte(Number.parseInt(octal[0], 8) & 0xff), end: at + octal[0].length };
  const next = text[at + 1];
  if (sign === 'c' && next !== undefined) return { value: byte(next.charCodeAt(0) & 0x1f), end: at + 2 };
  return { value: Object.hasOwn(escapes, sign) ? escapes[sign]! : sign, end: at + 1 };
}

const byte = (value: number): string => String.fromCharCode(value);

/** A stretch of a line. */
export function part({ span, exact }: Line, from: number, to: number): Span {
  return exact ? { source: span.source, start: span.start + from, end: span.start + to } : span;
}

/** The line without blanks at both ends. */
export function trimmed(line: Line): Line {
  let from = 0;
  let to = line.text.length;
  while (from < to && isBlank(line.text[from])) from++;
  while (to > from && isBlank(line.text[to - 1])) to--;
  return from === 0 && to === line.text.length ? line : cut(line, from, to);
}

/** A stretch of a line as a line. */
export function cut(line: Line, from: number, to: number): Line {
  return { ...line, text: line.text.slice(from, to), span: part(line, from, to) };
}

/**
 * A line without its comment: what follows `#` or `!` outside of double quotes. `\#` and `\!` are the signs themselves.
 * A backslash at the very end is kept, blanks before it are not: there a definition goes on.
 */
export function withoutComment(line: Line): { line: Line; goesOn: boolean; open: boolean } {
  const { text } = line;
  let quoted = false;
  let end = text.length;
  const dropped: number[] = [];
  let goesOn = false;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at];
    if (sign === '\\') {
      if (at + 1 >= text.length) {
        goesOn = true;
        end = Math.min(end, at);
      } else if (!quoted && end === text.length && (text[at + 1] === '#' || text[at + 1] === '!'))
        dropped.push(at);
      at++;
    } else if (sign === '"') {
      if (end === text.length) quoted = !quoted;
    } else if (!quoted && end === text.length && (sign === '#' || sign === '!')) end = at;
  }
  const kept = trimmed(cut(line, 0, end));
  if (!dropped.some((at) => at < end)) return { line: kept, goesOn, open: quoted };
  const unescaped = [...dropped]
    .reverse()
    .reduce((all, at) => all.slice(0, at) + all.slice(at + 1), text.slice(0, end));
  return { line: trimmed({ text: unescaped, span: line.span, exact: false }), goesOn, open: quoted };
}
