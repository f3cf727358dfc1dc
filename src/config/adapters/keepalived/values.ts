import type { Problem } from '../../../model/errors.ts';
import { missingWord, type Statement } from './blocks.ts';
import type { Notes } from './notes.ts';
import type { Word } from './words.ts';

type Told = { readonly notes: Notes; readonly problems: Problem[] };

export const unsignedMax = 4_294_967_295;
const secondsMax = 2_147_483;

/** The word behind a keyword; where there is none keepalived gives up, and so it is a problem. */
export function firstWord(statement: Statement, wanted: string, { problems }: Told): Word | undefined {
  const [word] = statement.words;
  if (!word) problems.push(missingWord(statement, wanted));
  return word;
}

/** Words behind the last one that counts are passed over, as keepalived does. */
export function noteRest(statement: Statement, count: number, { notes }: Told): void {
  const rest = statement.words.slice(count);
  if (rest.length === 0) return;
  const text = rest.map((word) => word.text).join(' ');
  const shown = text.length > 40 ? `${text.slice(0, 37)}...` : text;
  notes.changed(rest[0]!.span, `"${shown}" behind the value is left out`);
}

/**
 * A whole number behind a keyword. What follows its digits is left out with a note, as keepalived does outside of its
 * test; a number out of bounds is no value, and the line is ignored.
 */
export function wholeNumber(
  statement: Statement,
  [least, most]: readonly [number, number],
  told: Told,
): number | undefined {
  const word = firstWord(statement, `a number from ${least} to ${most}`, told);
  if (!word) return undefined;
  noteRest(statement, 1, told);
  return numberIn(word, [least, most], told);
}

/** The number a word is. */
export function numberIn(
  { text, span }: Word,
  [least, most]: readonly [number, number],
  { notes }: Told,
): number | undefined {
  const match = /^\s*([+-]?)(\d+)(.*)$/s.exec(text);
  const value = match ? Number(`${match[1]}${match[2]}`) : undefined;
  if (value === undefined || !(value >= least && value <= most)) {
    notes.wrong('ignored', span, `"${text}": wanted a number from ${least} to ${most}`);
    return undefined;
  }
  if (match![3] !== '') notes.wrong('changed', span, `"${text}" is taken for ${value}`);
  return value;
}

/** A time in seconds with decimals, in milliseconds. */
export function timeMs(statement: Statement, leastMs: number, told: Told): number | undefined {
  const word = firstWord(statement, 'a time in seconds', told);
  if (!word) return undefined;
  noteRest(statement, 1, told);
  return timeIn(word, leastMs, told);
}

function timeIn({ text, span }: Word, leastMs: number, { notes }: Told): number | undefined {
  const match = /^\s*\+?(\d*(?:\.\d*)?)(.*)$/s.exec(text);
  const digits = match?.[1] ?? '';
  const seconds = /\d/.test(digits) ? Number(digits) : Number.NaN;
  if (!(seconds <= secondsMax)) {
    notes.wrong('ignored', span, `"${text}": wanted a time in seconds`);
    return undefined;
  }
  const exact = seconds * 1000;
  const value = Math.max(Math.round(exact), exact > 0 ? 1 : 0);
  if (value < leastMs) {
    notes.wrong('ignored', span, `"${text}": wanted a time of ${leastMs / 1000} s or more`);
    return undefined;
  }
  if (match![2] !== '') notes.wrong('changed', span, `"${text}" is taken for ${seconds} s`);
  else if (Math.abs(exact - value) > 1e-6)
    notes.changed(span, `${text} s is ${value} ms: times are whole milliseconds`);
  return value;
}

/** `on`, `true`, `yes` and their opposites; a keyword alone means yes. */
export function yesOrNo(statement: Statement, told: Told): boolean | undefined {
  const [word] = statement.words;
  if (!word) return true;
  noteRest(statement, 1, told);
  if (['on', 'true', 'yes'].includes(word.text)) return true;
  if (['off', 'false', 'no'].includes(word.text)) return false;
  told.notes.wrong('ignored', word.span, `"${word.text}": wanted on or off`);
  return undefined;
}
