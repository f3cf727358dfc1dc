import type { MapNode, TreeNode } from '../../tree.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { cleanName } from './names.ts';
import { ignoreAll, listAt, mapAt, scalarAt } from './scope.ts';
import { firstWord } from './values.ts';
import type { VrrpContext } from './vrrp-context.ts';

const reasons: readonly (readonly [RegExp, string])[] = [
  [/^notify|^smtp_alert/, 'what happens is told by "headgate events" and "alerts"'],
  [/^virtual_r/, 'routes and rules do not move with the addresses'],
  [/^track_/, 'only interfaces, scripts and virtual services are tracked'],
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
  for (const inner of statement.statements) {
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
  return mapAt(statement.span, { name, instances: listAt(statement.span, members) });
}
