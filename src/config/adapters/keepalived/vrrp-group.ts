import type { MapNode, TreeNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { cleanName } from './names.ts';
import { ignoreAll, listAt, mapAt, scalarAt } from './scope.ts';
import { firstWord } from './values.ts';
import type { VrrpContext } from './vrrp-context.ts';
import { noPrograms, notifyNode, takeNotify } from './vrrp-notify.ts';
import { isTracker } from './vrrp-tracking.ts';

const reasons: readonly (readonly [RegExp, string])[] = [
  [/^notify/, 'only changes of the state are told'],
  [/^track_bfd/, 'BFD is not spoken'],
  [/^auth_hmac/, 'advertisements have no trailer: real VRRP has none'],
  [/checksum/, 'checksums are those of RFC 9568'],
];

/** Why a keyword of VRRP is ignored. */
export function vrrpReason(keyword: string): string {
  return reasons.find(([form]) => form.test(keyword))?.[1] ?? `VRRP cannot say "${keyword}" here`;
}

/** The node of a block `vrrp_sync_group`. */
export function groupNode(
  statement: Statement,
  names: Set<string>,
  context: VrrpContext,
): MapNode | undefined {
  const { notes, instances } = context;
  const first = firstWord(statement, 'a name', context);
  if (!first) return undefined;
  const members: TreeNode[] = [];
  const taken = new Set<string>();
  const programs = noPrograms();
  for (const inner of statement.statements) {
    if (takeNotify(inner, programs, context)) continue;
    if (isTracker(inner.keyword)) {
      notes.changed(inner.span, 'every member of the group tracks it');
      continue;
    }
    if (inner.keyword !== 'group') {
      ignoreAll([inner], vrrpReason(inner.keyword), context);
      continue;
    }
    notes.kept(inner.span, '"instances"');
    for (const word of inner.values.flatMap(({ words }) => words)) {
      const name = instances.get(word.text);
      if (name === undefined) notes.wrong('ignored', word.span, `no instance is "${shown(word.text)}"`);
      else if (!taken.has(name)) members.push(scalarAt(word.span, name));
      if (name !== undefined) notes.kept(word.span, 'a member of the group');
      taken.add(name ?? '');
    }
  }
  if (members.length < 2) {
    notes.wrong('ignored', statement.span, 'a group needs two instances or more');
    return undefined;
  }
  const name = cleanName(first.text);
  if (names.has(name)) {
    notes.wrong('ignored', statement.span, `group "${name}" is there already`);
    return undefined;
  }
  names.add(name);
  notes.kept(statement.span, 'instances that change their state together');
  return mapAt(statement.span, {
    name,
    instances: listAt(statement.span, members),
    notify: notifyNode(programs),
  });
}
