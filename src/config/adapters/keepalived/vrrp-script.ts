import { formatDurationMs } from '../../quantities.ts';
import type { TreeNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { cleanName } from './names.ts';
import { commandOf, mapAt, type Scope } from './scope.ts';
import { firstWord, timeMs, wholeNumber } from './values.ts';
import { type TrackedThing, weightOf } from './vrrp-things.ts';
import { type Whom, whomNodes } from './whom.ts';

/** Reads a block `vrrp_script`; undefined where it names no program, as keepalived drops it. */
export function readScript(
  statement: Statement,
  scope: Scope,
): { readonly key: string; readonly script: TrackedThing } | undefined {
  const { notes } = scope;
  const first = firstWord(statement, 'a name', scope);
  if (!first) return undefined;
  let command: TreeNode | undefined;
  let weight = 0;
  let reverse = false;
  let whom: Whom | undefined;
  let rise = 1;
  let fall = 1;
  let intervalMs = 1000;
  let timeoutMs: number | undefined;
  notes.kept(statement.span, 'a script that is tracked');
  for (const inner of statement.statements) {
    const { keyword, span, words } = inner;
    notes.kept(span, `"${keyword}" of the script`);
    if (keyword === 'script') command = commandOf(inner, scope);
    else if (keyword === 'interval') intervalMs = timeMs(inner, 1, scope) ?? intervalMs;
    else if (keyword === 'timeout') timeoutMs = timeMs(inner, 1, scope) ?? timeoutMs;
    else if (keyword === 'rise') rise = wholeNumber(inner, [1, 4_294_967_295], scope) ?? rise;
    else if (keyword === 'fall') fall = wholeNumber(inner, [1, 4_294_967_295], scope) ?? fall;
    else if (keyword === 'weight') {
      const read = weightOf(inner, 253, scope);
      [weight, reverse] = [read.weight ?? weight, read.reverse];
    } else if (keyword === 'user') {
      const user = firstWord(inner, 'a user', scope);
      whom = user && { user, ...(words[1] && { group: words[1] }) };
    } else notes.ignored(span, 'a script counts as well until its first result');
  }
  if (!command) {
    notes.wrong('ignored', statement.span, `script "${shown(first.text)}" names no program`);
    return undefined;
  }
  const name = cleanName(first.text);
  const bounded = (value: number) => Math.min(1000, value);
  const duration = (valueMs: number) => formatDurationMs(Math.min(3_600_000, Math.max(10, valueMs)));
  const timeout = timeoutMs ?? intervalMs;
  const node = mapAt(statement.span, {
    name,
    command,
    interval: intervalMs === 1000 ? undefined : duration(intervalMs),
    timeout: timeout === 1000 ? undefined : duration(timeout),
    rise: rise === 1 ? undefined : bounded(rise),
    fall: fall === 1 ? undefined : bounded(fall),
    ...whomNodes(whom),
  });
  return {
    key: first.text,
    script: { ...{ name, weight, reverse, node }, span: statement.span, tracked: false },
  };
}
