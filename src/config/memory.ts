import type { ServiceConfiguration } from './schema/configuration.ts';
import type { TreeNode } from './tree.ts';

/**
 * What a process that reads a configuration again and again keeps of the last time: most of a file is as it was. Only
 * what says the same wherever it stands is kept, without places: a configuration with a problem is read anew, without.
 */
export type Memory = {
  /** Entries of lists at the top, by `keyOf`, in their order; what the last reading did not meet is forgotten by the next. */
  before: Map<string, Kept>;
  now: Map<string, Kept>;
  /** The entries of `before` in their order, and which of them stands behind the one that was met last. */
  order: readonly Kept[];
  next: number;
  /** What sound entries are as virtual services. */
  readonly services: WeakMap<TreeNode, ServiceConfiguration>;
  /** Virtual services that are sound by themselves. */
  readonly sound: WeakSet<ServiceConfiguration>;
};

/** An entry that was read. */
export type Kept = {
  readonly key: string;
  /** From its dash to the next content. */
  readonly text: string;
  readonly indent: number;
  /** Where that content stood in its line; undefined where the file ended otherwise than with a line. */
  readonly nextIndent: number | undefined;
  node: TreeNode;
};

const keyOf = (indent: number, text: string): string => `${indent} ${text}`;

/** Nothing remembered yet. */
export function newMemory(): Memory {
  return {
    ...{ before: new Map(), now: new Map(), order: [], next: 0 },
    ...{ services: new WeakMap(), sound: new WeakSet() },
  };
}

/** Begins a reading. */
export function beginReading(memory: Memory): void {
  memory.before = memory.now;
  memory.order = [...memory.now.values()];
  memory.next = 0;
  memory.now = new Map();
}

/** Ends a reading that found no mistake: of a virtual service it is enough to know which it is. */
export function endReading(memory: Memory): void {
  memory.before = new Map();
  memory.order = [];
  for (const kept of memory.now.values()) {
    const { node } = kept;
    const service = memory.services.get(node);
    if (!service || node.kind !== 'map' || node.members.size === 0) continue;
    kept.node = { ...node, members: new Map() };
    memory.services.set(kept.node, service);
  }
}

/**
 * The entry that stood behind the one that was met last, if it stands at `at` of a text again: most of a file is as it was, and
 * to see that takes a comparison.
 */
export function recallNext(memory: Memory, indent: number, text: string, at: number): Kept | undefined {
  const kept = memory.order[memory.next];
  if (kept?.indent !== indent || kept.nextIndent === undefined || memory.now.has(kept.key)) return undefined;
  const end = at + kept.text.length;
  // What follows must be content: more blanks, or a comment, would belong to the entry.
  if (end >= text.length || ' \n#'.includes(text[end]!) || text.slice(at, end) !== kept.text)
    return undefined;
  memory.next++;
  memory.now.set(kept.key, kept);
  return kept;
}

/** An entry as it was read before, wherever it stood; the same node stands in one place of a tree only. */
export function recall(memory: Memory, indent: number, text: string): TreeNode | undefined {
  const key = keyOf(indent, text);
  const kept = memory.before.get(key);
  if (!kept || memory.now.has(key)) return undefined;
  memory.now.set(key, kept);
  memory.next = memory.order.indexOf(kept, memory.next) + 1 || memory.next;
  return kept.node;
}

/** Keeps an entry, unless one with the same text stands in this configuration already. */
export function remember(memory: Memory, indent: number, text: string, node: TreeNode): void {
  const key = keyOf(indent, text);
  if (memory.now.has(key)) return;
  const blanks = /\n( *)$/.exec(text)?.[1]?.length;
  memory.now.set(key, {
    ...{ key, indent, node },
    // A part of the key, not of the file.
    text: key.slice(key.length - text.length),
    nextIndent: blanks !== undefined && blanks <= indent ? blanks : undefined,
  });
}
