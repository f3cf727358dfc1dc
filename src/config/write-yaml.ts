import { Document, isMap, isScalar, isSeq, type Node } from 'yaml';
import { plain, type TreeNode } from './tree.ts';

/** Longer maps and lists are not put on one line. */
const widestLine = 110;

/**
 * A tree as text of headgate.yaml: services in blocks with an empty line between them, real servers and other small
 * maps on one line, comments above what they are about; those of the root come first, with an empty line behind.
 */
export function writeYaml(root: TreeNode, comments: ReadonlyMap<TreeNode, readonly string[]>): string {
  const document = new Document(escaped(plain(root)), { version: '1.2', schema: 'core' });
  layOut(document.contents, root, 0, comments);
  const header = comments.get(root);
  if (header) document.commentBefore = commentText(header);
  return document.toString({ lineWidth: 0, singleQuote: false });
}

/** Dresses the nodes of a document; true where the node fits on one line. */
function layOut(
  node: unknown,
  tree: TreeNode,
  depth: number,
  comments: ReadonlyMap<TreeNode, readonly string[]>,
  listed = false,
): boolean {
  if (isMap(node) && tree.kind === 'map') {
    const fits = node.items.map(({ key, value }) => {
      const member = tree.members.get(String(isScalar(key) ? key.value : key));
      return member ? layOut(value, member.value, depth + 1, comments) : false;
    });
    const flat = [...tree.members.values()].every(({ value }) => value.kind !== 'map');
    // What a list near the top consists of is described at length: services, VRRP instances.
    const atLength = depth === 0 || (listed && depth <= 3) || (!flat && depth <= 3);
    const small = !atLength && fits.every(Boolean) && width(tree) <= widestLine;
    node.flow = small;
    return small;
  }
  if (isSeq(node) && tree.kind === 'list') {
    const scalars = tree.items.every(({ kind }) => kind === 'scalar');
    for (const [i, item] of tree.items.entries()) {
      const child = node.items[i] as Node;
      layOut(item.kind === 'scalar' ? undefined : child, item, depth + 1, comments, true);
      const said = comments.get(item);
      if (said && said.length > 0) child.commentBefore = commentText(said);
      if (depth === 1 && i > 0) child.spaceBefore = true;
    }
    node.flow = tree.items.length === 0 || (scalars && width(tree) <= widestLine);
    return node.flow;
  }
  return true;
}

function width(tree: TreeNode): number {
  return JSON.stringify(plain(tree)).length;
}

/** As many signs of a comment as a line has. */
const longestComment = 500;

/** Comment lines for YAML: a space in front, nothing that is not text. */
function commentText(lines: readonly string[]): string {
  return lines
    .map((line) => {
      const text = line.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, ' ').trimEnd();
      return text === '' || text.startsWith(' ')
        ? text.slice(0, longestComment)
        : ` ${text.slice(0, longestComment)}`;
    })
    .join('\n');
}

/** Values as they are written: `${` would be a variable. */
function escaped(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('${', '$$$${');
  if (Array.isArray(value)) return value.map(escaped);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, escaped(inner)]));
}
