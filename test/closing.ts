import { stripVTControlCharacters } from 'node:util';

/*
 * What the end of a run says besides what was left out, so that its last screen is enough to know what failed: pure
 * text, from facts that reporter.ts reads from vitest.
 */

/** A test, hook or file that failed. */
export type Failure = {
  /** The file from the root of the checkout, then suites and test; `(outside of tests)` for an error that belongs to none. */
  readonly title: string;
  readonly errors: readonly FailureError[];
};

export type FailureError = {
  readonly message: string;
  /** Numbers and the like as they are, others as vitest prints them: several lines, when values are deep. */
  readonly expected?: unknown;
  readonly actual?: unknown;
  /** Unified difference of the two, with marks at the start of each line. */
  readonly diff?: string | undefined;
};

export type FileTime = { readonly file: string; readonly seconds: number };

const reasonLength = 300;
const slowest = 10;

/** One block of at most four lines for each failure; empty when nothing failed. */
export const failuresText = (failures: readonly Failure[]): string => listed('Failed:', failures);

/** The same for tests that failed once and passed when they were tried again. */
export const unsteadyText = (failures: readonly Failure[]): string =>
  listed('Unsteady, a defect of the test or of the product: passed only when tried again:', failures);

function listed(heading: string, failures: readonly Failure[]): string {
  if (failures.length === 0) return '';
  const blocks = failures.map(({ title, errors }) => {
    const reason = errors[0] === undefined ? ['no message'] : reasonLines(errors[0]);
    return [`  ${title}`, ...reason.map((line) => `      ${line}`)].join('\n');
  });
  return `\n${heading}\n${blocks.join('\n')}\n`;
}

/** The files that took longest, longest first, in whole seconds; empty when none took a second. */
export function slowestText(times: readonly FileTime[]): string {
  const long = times.filter(({ seconds }) => seconds >= 1).sort((a, b) => b.seconds - a.seconds);
  if (long.length === 0) return '';
  const lines = long
    .slice(0, slowest)
    .map(({ file, seconds }) => `${Math.round(seconds).toString().padStart(6)} s  ${file}`);
  return `\nSlowest files:\n${lines.join('\n')}\n`;
}

/** The first line of the message, then what differs: three lines and about 300 characters in all. */
function reasonLines({ message, expected, actual, diff }: FailureError): string[] {
  const [first = 'no message', ...others] = linesOf(message);
  const shown = [first, ...(difference(expected, actual, diff) ?? others.slice(0, 2))];
  return shown.map((line) => cut(line, reasonLength / shown.length));
}

/** What was expected and what was received, or the first line each lost and gained; undefined for other errors. */
function difference(expected: unknown, actual: unknown, diff?: string): string[] | undefined {
  if (expected === undefined || actual === undefined) return undefined;
  const values = [
    `expected ${linesOf(String(expected)).join(' ')}`,
    `received ${linesOf(String(actual)).join(' ')}`,
  ];
  if (values.every((value) => value.length <= reasonLength / 3)) return values;
  const changed = linesOf(diff ?? '').filter((line) => !/^(- Expected|\+ Received)/.test(line));
  const lines = ['-', '+'].flatMap((sign) => changed.find((line) => line.startsWith(`${sign} `)) ?? []);
  return lines.length > 0 ? lines.map((line) => line.replace(/^(.)\s+/, '$1 ')) : values;
}

/** The lines that say something, without colours. */
const linesOf = (text: string): string[] =>
  stripVTControlCharacters(text)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

const cut = (line: string, length: number): string =>
  line.length <= length ? line : `${line.slice(0, length - 1)}…`;
