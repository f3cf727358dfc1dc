import type { z } from 'zod';
import type { Problem } from '../model/errors.ts';
import { type Source, type Span, sourceOf } from '../model/problem.ts';
import { problemsOfIssues, singled } from './issues.ts';
import { readTree } from './read-tree.ts';
import { nearestNode, type Path, plain, type TreeNode } from './tree.ts';
import type { Environment } from './variables.ts';

/** What a schema made of the values of a tree. */
export type Values<Value> = {
  /** Present where the values are right, apart from keys too many: those do not keep the rest from being judged. */
  readonly value?: Value;
  readonly problems: Problem[];
};

/** Judges the values of a tree; `top` names the whole of them in messages. */
export function readValues<S extends z.ZodType>(tree: TreeNode, schema: S, top: string): Values<z.output<S>> {
  const read = schema.safeParse(plain(tree));
  if (read.success) return { value: read.data, problems: [] };
  const issues = read.error.issues.flatMap(singled);
  const problems = problemsOfIssues(issues, tree, top);
  if (issues.some(({ code }) => code !== 'unrecognized_keys')) return { problems };
  const known = schema.safeParse(plain(withoutUnknown(tree, issues)));
  return known.success ? { value: known.data, problems } : { problems };
}

function withoutUnknown(tree: TreeNode, issues: readonly z.core.$ZodIssue[]): TreeNode {
  const unknown = new Map<string, ReadonlySet<string>>();
  for (const issue of issues)
    if (issue.code === 'unrecognized_keys') unknown.set(JSON.stringify(issue.path), new Set(issue.keys));
  const cleaned = (node: TreeNode, path: Path): TreeNode => {
    if (node.kind === 'scalar') return node;
    if (node.kind === 'list')
      return { ...node, items: node.items.map((item, i) => cleaned(item, [...path, i])) };
    const gone = unknown.get(JSON.stringify(path));
    const members = [...node.members]
      .filter(([key]) => !gone?.has(key))
      .map(([key, member]) => [key, { ...member, value: cleaned(member.value, [...path, key]) }] as const);
    return { ...node, members: new Map(members) };
  };
  return cleaned(tree, []);
}

/** A text of ours that is no configuration of a director, with the places of its values. */
export type Text<Value> = Values<Value> & { readonly spanOf: (path: Path) => Span };

/** Reads a YAML or JSON text by a schema. Nothing is thrown: what is wrong is in `problems`. */
export function readText<S extends z.ZodType>(
  text: string,
  name: string,
  schema: S,
  top: string,
  environment: Environment = {},
): Text<z.output<S>> {
  const source = sourceOf(name, text);
  const problems: Problem[] = [];
  const tree = readTree(source, environment, problems);
  const spanOf = (path: Path) => (tree ? spanAt(tree, path) : wholeOf(source));
  if (!tree) return { problems, spanOf };
  const values = readValues(tree, schema, top);
  return { ...values, problems: [...problems, ...values.problems], spanOf };
}

const wholeOf = (source: Source): Span => ({ source, start: 0, end: 0 });

/** The place of the value a path leads to; where the path ends early, of the last value on it. */
export function spanAt(root: TreeNode, path: Path): Span {
  const { node } = nearestNode(root, path);
  return node.kind === 'scalar' ? node.span : { ...node.span, end: node.span.start + 1 };
}
