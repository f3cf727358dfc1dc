import type { Tracked } from './vrrp.ts';

/** A number out of these bounds is a fault, as in keepalived.conf(5), track_file. */
const mostWeight = 253;

/**
 * What the number in a file makes of an instance (keepalived.conf(5), track_file): times `weight` it is added to the priority;
 * less than -253 is a fault. With weight 0 every number but 0 is one.
 */
export function trackedFile(
  name: string,
  { weight, reverse, value }: { readonly weight: number; readonly reverse: boolean; readonly value: number },
): readonly Tracked[] {
  const what = `file ${name}`;
  const fault = `its number is ${value}`;
  if (weight === 0) return (value !== 0) !== reverse ? [{ what, weight: 0, fault }] : [];
  const sum = value * weight * (reverse ? -1 : 1);
  if (sum === 0) return [];
  if (sum < -mostWeight) return [{ what, weight: 0, fault }];
  return [{ what, weight: Math.min(mostWeight, sum), ...(sum < 0 && { fault }) }];
}

/** The number in a file: leading digits, with a sign; 0 where there are none (strtol(3), as keepalived). */
export function numberIn(text: string): number {
  const number = Number(/^\s*([+-]?\d{1,12})/.exec(text)?.[1] ?? 0);
  return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, number));
}

/** Which processes count. */
export type ProcessPattern = {
  /** The name; with parameters, or where `match` is given, the words of the command line. */
  readonly command: readonly string[];
  /** `exact`: all words; `first`: more may follow; `prefix`: the last one may be longer, and more may follow. */
  readonly match?: 'exact' | 'first' | 'prefix' | undefined;
};

/** A process of this host: its name, and the words of its command line. */
export type RunningProcess = { readonly name: string; readonly words: readonly string[] };

/** Whether only the command line tells. */
export const needsWords = ({ command, match }: ProcessPattern): boolean =>
  command.length > 1 || match !== undefined;

/** Whether a process is meant (keepalived.conf(5), vrrp_track_process). */
export function isMeant(pattern: ProcessPattern, { name, words }: RunningProcess): boolean {
  const { command, match = 'exact' } = pattern;
  if (!needsWords(pattern)) return name === command[0];
  if (words.length < command.length || (match === 'exact' && words.length > command.length)) return false;
  return command.every((word, i) =>
    match === 'prefix' && i === command.length - 1 ? words[i]!.startsWith(word) : words[i] === word,
  );
}

/** Why so many processes are not as they should be; undefined where they are. */
export function quorumFault(
  found: number,
  least: number,
  most = Number.POSITIVE_INFINITY,
): string | undefined {
  if (found >= least && found <= most) return undefined;
  const wanted = found < least ? `at least ${least}` : `at most ${most}`;
  return `${found} run, wanted ${wanted}`;
}
