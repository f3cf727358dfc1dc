import type { Span } from '../model/problem.ts';

/** The way to a value: keys and indices from the top. */
export type Path = readonly (string | number)[];

/** A value with the place it stands at. One node may stand in several places of a tree, when an alias put it there. */
export type TreeNode = MapNode | ListNode | ScalarNode;
export type MapNode = {
  readonly kind: 'map';
  readonly span: Span;
  readonly members: ReadonlyMap<string, Member>;
};
export type ListNode = { readonly kind: 'list'; readonly span: Span; readonly items: readonly TreeNode[] };
export type ScalarNode = {
  readonly kind: 'scalar';
  readonly span: Span;
  readonly value: ScalarValue;
  /** Whether a problem with it has been told, so that what its value is says nothing. */
  readonly broken?: true;
};
export type ScalarValue = string | number | boolean | null;
export type Member = { readonly keySpan: Span; readonly value: TreeNode };

/**
 * Keys and values that inherit nothing, so that no key means anything but itself. Made by a constructor, because objects
 * made by `Object.create(null)` are hash tables to the engine, which a schema takes a fifth longer to read.
 */
const Values = function Values() {} as unknown as new () => Record<string, unknown>;
Values.prototype = Object.create(null);

/** The values alone. */
export function plain(node: TreeNode): unknown {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(plain);
  const values = new Values();
  for (const [key, { value }] of node.members) values[key] = plain(value);
  return values;
}

/** The node a path leads to; undefined where there is none. */
export function nodeAt(root: TreeNode, path: Path): TreeNode | undefined {
  return path.reduce<TreeNode | undefined>((node, step) => (node ? child(node, step) : undefined), root);
}

/** The last node on a path that is there, and whether that is the path's end. A map may stand for a list of one. */
export function nearestNode(root: TreeNode, path: Path): { node: TreeNode; reached: boolean } {
  let node = root;
  for (const step of path) {
    const next = child(node, step) ?? (step === 0 && node.kind === 'map' ? node : undefined);
    if (!next) return { node, reached: false };
    node = next;
  }
  return { node, reached: true };
}

function child(node: TreeNode, step: string | number): TreeNode | undefined {
  if (node.kind === 'map') return node.members.get(String(step))?.value;
  return node.kind === 'list' && typeof step === 'number' ? node.items[step] : undefined;
}

/** What a value is, for "found ..." in messages; long text is cut. */
export function described(node: TreeNode | undefined): string {
  if (!node) return 'none';
  if (node.kind === 'map') return 'keys and values';
  if (node.kind === 'list') return node.items.length === 0 ? 'an empty list' : 'a list';
  if (node.value === null) return 'nothing';
  if (typeof node.value !== 'string') return String(node.value);
  return `"${node.value.length > 60 ? `${node.value.slice(0, 57)}...` : node.value}"`;
}
