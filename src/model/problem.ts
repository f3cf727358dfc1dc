import { type ErrorCode, errorCatalogue, type Place, type Problem } from './errors.ts';

/** A text with a name: what places in messages refer to. */
export type Source = {
  /** As the user would type it. */
  readonly name: string;
  readonly text: string;
  /** Offsets at which the lines start. */
  readonly lineStarts: readonly number[];
};

/** A stretch of a text, in UTF-16 units; `end` is behind its last one. */
export type Span = { readonly source: Source; readonly start: number; readonly end: number };

/** Prepares a text for messages about it. */
export function sourceOf(name: string, text: string): Source {
  const lineStarts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  return { name, text, lineStarts };
}

/** Line and column of an offset; an offset beyond the text is its end. */
export function placeOf(source: Source, offset: number): Place {
  const line = lineOf(source, offset);
  return { line: line + 1, column: lengthOf(source.text.slice(source.lineStarts[line], offset)) + 1 };
}

/** Characters of a text; of one that nobody reads as a line, UTF-16 units, which takes no time to know. */
function lengthOf(text: string): number {
  return text.length > 1000 ? text.length : [...text].length;
}

/** The line of an offset, counted from 0. */
export function lineOf({ lineStarts }: Source, offset: number): number {
  let low = 0;
  let high = lineStarts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (lineStarts[middle]! <= offset) low = middle;
    else high = middle;
  }
  return low;
}

/** A mistake at a place of a text; `hint` left out is that of the catalogue. */
export function problemAt(
  span: Span,
  code: ErrorCode,
  message: string,
  hint: string = errorCatalogue[code].hint,
): Problem {
  const { source, start } = span;
  return {
    code,
    file: source.name,
    at: placeOf(source, start),
    message: printable(message),
    hint: printable(hint),
    frame: frameOf(span),
  };
}

/** A mistake that no place of the text stands for, such as a file that is missing. */
export function problemOf(file: string, code: ErrorCode, message: string, hint?: string): Problem {
  return problemAt({ source: sourceOf(file, ''), start: 0, end: 0 }, code, message, hint);
}

/** Problems of one text by place, those of several texts by the order of `files`, else by name. */
export function sortProblems(problems: readonly Problem[], files: readonly string[] = []): Problem[] {
  const rank = new Map(files.map((file, i) => [file, i]));
  const rankOf = ({ file }: Problem) => rank.get(file) ?? files.length;
  return problems.toSorted(
    (a, b) =>
      rankOf(a) - rankOf(b) ||
      (a.file < b.file ? -1 : a.file > b.file ? 1 : 0) ||
      a.at.line - b.at.line ||
      a.at.column - b.at.column,
  );
}

/** `file:line:column: message [CODE]`, the code frame, the next step; ends with a line feed. */
export function problemText({ code, file, at, message, hint, frame }: Problem): string {
  const place = frame.length > 0 ? `${file}:${at.line}:${at.column}` : file;
  return [`${place}: ${message} [${code}]`, ...frame.map((line) => `  ${line}`), `  next: ${hint}`, ''].join(
    '\n',
  );
}

/** As many problems as a person reads, and how many more there are. */
export function problemsText(problems: readonly Problem[]): string {
  const more = problems.length - mostShown;
  const shown = problems.slice(0, mostShown).map(problemText);
  return `${shown.join('')}${more > 0 ? `and ${more} more mistake${more === 1 ? '' : 's'}\n` : ''}`;
}

const mostShown = 50;

/** A problem for programs: `frame` is for people and left out. */
export function problemJson({ code, file, at, message, hint }: Problem): Record<string, string | number> {
  return { code, file, line: at.line, column: at.column, message, hint };
}

/** `1 mistake`, `3 mistakes`. */
export function countMistakes(problems: readonly Problem[]): string {
  return `${problems.length} mistake${problems.length === 1 ? '' : 's'}`;
}

const widestFrame = 100;

/** Up to three lines with their numbers and carets under the span; of long lines the part around the span. */
function frameOf({ source, start, end }: Span): string[] {
  if (source.text === '') return [];
  const middle = lineOf(source, start);
  const numbers = [middle - 1, middle, middle + 1].filter((line) => line >= 0 && hasLine(source, line));
  const width = String(numbers.at(-1)! + 1).length;
  const column = start - source.lineStarts[middle]!;
  const from = Math.max(0, column - widestFrame / 2);
  const text = (line: number) => printable(lineText(source, line).slice(from, from + widestFrame));
  const rows: string[] = [];
  for (const line of numbers) {
    rows.push(`${String(line + 1).padStart(width)} | ${text(line)}`.trimEnd());
    if (line !== middle) continue;
    const shown = lineText(source, line);
    const before = [...shown.slice(from, column)].length;
    const under = [...shown.slice(column, Math.min(end - source.lineStarts[middle]!, from + widestFrame))];
    rows.push(`${' '.repeat(width)} | ${' '.repeat(before)}${'^'.repeat(Math.max(1, under.length))}`);
  }
  return rows;
}

/** Whether there is such a line; what follows a line feed at the very end is none. */
function hasLine({ lineStarts, text }: Source, line: number): boolean {
  return line < lineStarts.length && (lineStarts[line]! < text.length || line === 0);
}

function lineText({ text, lineStarts }: Source, line: number): string {
  const next = lineStarts[line + 1];
  const end = next === undefined ? text.length : next - (text[next - 2] === '\r' ? 2 : 1);
  return text.slice(lineStarts[line], end);
}

/** One visible sign for each that is none, so that nothing in a file can move the cursor of a terminal. */
function printable(text: string): string {
  return text.replaceAll('\t', '→').replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, '·');
}
