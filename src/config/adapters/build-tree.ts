import type { Span } from '../../model/problem.ts';
import type { ListNode, MapNode, Member, ScalarNode, ScalarValue, TreeNode } from '../tree.ts';

/** A value that a place of an old file says. */
export function scalarAt(span: Span, value: ScalarValue): ScalarNode {
  return { kind: 'scalar', span, value };
}

export function listAt(span: Span, items: readonly TreeNode[]): ListNode {
  return { kind: 'list', span, items };
}

/** A map of keys and values; what is undefined is left out, what is no node yet is said by `span`. */
export function mapAt(
  span: Span,
  entries: Readonly<Record<string, TreeNode | ScalarValue | undefined>>,
): MapNode {
  const members = new Map<string, Member>();
  for (const [key, value] of Object.entries(entries)) {
    if (value === undefined) continue;
    const node = typeof value === 'object' && value !== null ? value : scalarAt(span, value);
    members.set(key, { keySpan: span, value: node });
  }
  return { kind: 'map', span, members };
}
