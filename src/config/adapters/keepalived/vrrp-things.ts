import type { Span } from '../../../model/problem.ts';
import { formatDurationMs } from '../../quantities.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { cleanName } from './names.ts';
import { mapAt, type Scope, wordList } from './scope.ts';
import { firstWord, numberIn, timeMs, wholeNumber } from './values.ts';

/** What instances and groups may track, as the keywords of their blocks. */
export type TrackerKeyword = 'track_interface' | 'track_script' | 'track_file' | 'track_process';

/** A block `vrrp_script`, `vrrp_track_process` or `vrrp_track_file`, as instances ask for it. */
export type TrackedThing = {
  readonly name: string;
  readonly weight: number;
  readonly reverse: boolean;
  readonly span: Span;
  readonly node: MapNode;
  /** Whether an instance asks for it: keepalived minds no others. */
  tracked: boolean;
};

/** `weight N [reverse]` of a block. */
export function weightOf(
  { words, span }: Statement,
  most: number,
  scope: Scope,
): { readonly weight?: number; readonly reverse: boolean } {
  const [number, direction] = words;
  if (!number) {
    scope.notes.wrong('ignored', span, `"weight": wanted a number from -${most} to ${most}`);
    return { reverse: false };
  }
  const weight = numberIn(number, [-most, most], scope);
  return { ...(weight !== undefined && { weight }), reverse: direction?.text === 'reverse' };
}

const matches: Readonly<Record<string, string>> = { partial: 'first', initial: 'prefix' };

/** Reads a block `vrrp_track_process`; undefined where it names none. */
export function readProcess(
  statement: Statement,
  scope: Scope,
): { readonly key: string; readonly thing: TrackedThing } | undefined {
  const { notes } = scope;
  const first = firstWord(statement, 'a name', scope);
  if (!first) return undefined;
  let command: TreeNode | undefined;
  let match: string | undefined;
  let words = 0;
  // keepalived.conf(5): "default weight (default is 1)".
  let [weight, reverse] = [1, false];
  let [least, most]: [number, number | undefined] = [1, undefined];
  let [riseMs, fallMs] = [0, 0];
  let whole = false;
  notes.kept(statement.span, 'processes that must run');
  for (const inner of statement.statements) {
    const { keyword, span } = inner;
    notes.kept(span, '"processes"');
    if (keyword === 'process') {
      command = wordList(inner.words, span);
      words = inner.words.length;
    } else if (keyword === 'param_match') {
      const word = firstWord(inner, 'initial or partial', scope);
      match = word && matches[word.text];
      if (word && match === undefined)
        notes.wrong('ignored', span, `"${shown(word.text)}": wanted initial or partial`);
    } else if (keyword === 'weight') {
      const read = weightOf(inner, 254, scope);
      [weight, reverse] = [read.weight ?? weight, read.reverse];
    } else if (keyword === 'quorum') least = wholeNumber(inner, [0, 65_535], scope) ?? least;
    else if (keyword === 'quorum_max') most = wholeNumber(inner, [0, 65_535], scope) ?? most;
    else if (keyword === 'full_command') whole = true;
    else {
      const value = timeMs(inner, 0, scope) ?? 0;
      if (keyword !== 'terminate_delay') riseMs = Math.min(value, 3_600_000);
      if (keyword !== 'fork_delay') fallMs = Math.min(value, 3_600_000);
    }
  }
  if (!command) {
    notes.wrong('ignored', statement.span, `vrrp_track_process "${shown(first.text)}" names no process`);
    return undefined;
  }
  // A command that shall have no parameters is said as keepalived does it: no parameters, but a match.
  if (words === 1 && (whole || match !== undefined)) match = 'exact';
  const name = cleanName(first.text);
  const node = mapAt(statement.span, {
    ...{ name, command, match },
    least: least === 1 ? undefined : least,
    most,
    riseDelay: riseMs === 0 ? undefined : formatDurationMs(riseMs),
    fallDelay: fallMs === 0 ? undefined : formatDurationMs(fallMs),
  });
  if (most !== undefined && most < least) {
    notes.wrong('ignored', statement.span, '"quorum_max" is less than "quorum"');
    return undefined;
  }
  return {
    key: first.text,
    thing: { ...{ name, weight, reverse, node, tracked: false }, span: statement.span },
  };
}
