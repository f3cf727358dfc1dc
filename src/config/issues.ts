import type { core } from 'zod';
import type { Problem } from '../model/errors.ts';
import { problemAt } from '../model/problem.ts';
import { suggest } from '../model/suggest.ts';
import { bare, keyForOldWord, valueForOldWord } from './old-words.ts';
import { parseDurationMs } from './quantities.ts';
import { checkKeys } from './schema/check.ts';
import { oneOf } from './schema/keys.ts';
import { described, nearestNode, nodeAt, type Path, type TreeNode } from './tree.ts';

type Issue = core.$ZodIssue;

/** What a schema found wrong with the values of a tree, as problems; issues are `singled` before. Problems come with their places. `top` names the whole. */
export function problemsOfIssues(issues: readonly Issue[], root: TreeNode, top: string): Problem[] {
  return issues.flatMap((issue) => (isSaidBy(issues, issue) ? [] : problemsOfIssue(issue, root, top)));
}

/** Whether a key is missing because it is misspelt, which its own problem says. */
function isSaidBy(issues: readonly Issue[], { code, path }: Issue): boolean {
  const [wanted, place] = [path.at(-1), JSON.stringify(path.slice(0, -1))];
  return (
    code !== 'unrecognized_keys' &&
    issues.some(
      (one) =>
        one.code === 'unrecognized_keys' &&
        JSON.stringify(one.path) === place &&
        one.keys.some((key) => suggest(key, one.message.split(' ')) === wanted),
    )
  );
}

/** Of a value that may be one of several kinds: what is wrong with it as the kind it is, where that is clear. */
export function singled(issue: Issue): Issue[] {
  if (issue.code !== 'invalid_union' || issue.discriminator !== undefined) return [issue];
  const fitting = issue.errors.filter(
    (branch) =>
      !branch.some(
        ({ code, path }) => path.length === 0 && (code === 'invalid_type' || code === 'invalid_value'),
      ),
  );
  if (fitting.length !== 1) return [issue];
  return fitting[0]!.flatMap((inner) => singled({ ...inner, path: [...issue.path, ...inner.path] }));
}

function problemsOfIssue(issue: Issue, root: TreeNode, top: string): Problem[] {
  const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((unknown) => unknownKey(unknown, issue.message.split(' '), root, path));
  const { node, reached } = nearestNode(root, path);
  if (node.kind === 'scalar' && node.broken) return [];
  if (!reached) {
    const wanted = path.at(-1)!;
    const whole = labelOf(path.slice(0, -1), top);
    const message = `${whole}: wanted the key "${wanted}", found none`;
    return [problemAt(firstLine(node), 'HG_CONFIG_MISSING_KEY', message, `add "${wanted}: ..."`)];
  }
  const { wanted, words } = wantedOf(issue);
  const message = `${labelOf(path, top)}: ${wanted}, found ${described(node)}`;
  return [problemAt(firstLine(node), 'HG_CONFIG_VALUE', message, hintFor(node, wanted, words))];
}

/** The place of a value; carets under more than its first line would say nothing. */
function firstLine({ kind, span }: TreeNode) {
  return kind === 'scalar' ? span : { ...span, end: span.start + 1 };
}

function unknownKey(unknown: string, known: readonly string[], root: TreeNode, path: Path): Problem {
  const parent = nodeAt(root, path);
  const member = parent?.kind === 'map' ? parent.members.get(unknown) : undefined;
  const span = member?.keySpan ?? root.span;
  const sameLetters = known.find((key) => bare(key) === bare(unknown));
  const ours = keyForOldWord(unknown);
  if (sameLetters === undefined && ours !== undefined) {
    const message = `key "${unknown}": a word of another program, wanted "${ours}"`;
    const hint = known.includes(ours) ? `write "${ours}"` : `write "${ours}", which stands elsewhere`;
    return problemAt(span, 'HG_CONFIG_OLD_WORD', message, hint);
  }
  const near = sameLetters ?? suggest(unknown, known);
  const hint = near === undefined ? elsewhere(unknown, known) : `did you mean "${near}"?`;
  return hint === undefined
    ? problemAt(span, 'HG_CONFIG_UNKNOWN_KEY', `key "${unknown}": not known here, wanted ${oneOf(known)}`)
    : problemAt(span, 'HG_CONFIG_UNKNOWN_KEY', `key "${unknown}": not known here`, hint);
}

/** Where a key belongs that was written beside the one it belongs into. */
function elsewhere(unknown: string, known: readonly string[]): string | undefined {
  if (known.includes('check') && checkKeys.includes(unknown))
    return `it belongs into "check": { ${unknown}: ... }`;
  if (known.includes('address') && unknown === 'port') return 'it belongs into "address", behind a colon';
  return undefined;
}

/** What an issue wants, as half a sentence; the words to choose from, where there are some. */
function wantedOf(issue: Issue): { wanted: string; words: readonly string[] } {
  const words =
    issue.code === 'invalid_value'
      ? issue.values.map(String)
      : issue.code === 'invalid_union'
        ? ('options' in issue ? (issue.options ?? []) : []).map(String)
        : [];
  if (issue.message.startsWith('wanted ') && words.length === 0) return { wanted: issue.message, words };
  if (words.length > 0) return { wanted: `wanted ${oneOf(words)}`, words };
  return { wanted: 'wanted another value', words };
}

function hintFor(node: TreeNode, wanted: string, words: readonly string[]): string | undefined {
  if (node.kind !== 'scalar') return undefined;
  const { value } = node;
  if (typeof value === 'string') {
    const near = valueForOldWord(value, words) ?? suggest(value, words);
    if (near !== undefined) return `did you mean "${near}"?`;
    if (/number/.test(wanted) && /^\d+$/.test(value)) return 'write it without quotes';
    if (/true or false/.test(wanted) && /^(?:yes|on|no|off)$/i.test(value))
      return `did you mean "${/^(?:yes|on)$/i.test(value)}"?`;
    if (/whole seconds/.test(wanted) && parseDurationMs(value) !== undefined) return undefined;
    if (/IPv6|address/.test(wanted) && value.includes(':') && /:.*:.*:/.test(value) && !value.includes('['))
      return 'an IPv6 address with a port is written in brackets and quotes: "[2001:db8::10]:80"';
  }
  if (typeof value === 'number' && /a duration/.test(wanted)) return `write the unit: ${value}s`;
  if (typeof value === 'number' && /a (?:text|name|host name|path)/.test(wanted))
    return `put quotes around it: "${value}"`;
  return undefined;
}

function labelOf(path: Path, top: string): string {
  const last = path.at(-1);
  if (last === undefined) return top;
  if (typeof last === 'string') return `"${last}"`;
  const list = path.at(-2);
  return typeof list === 'string' ? `"${list}", entry ${last + 1}` : `entry ${last + 1}`;
}
