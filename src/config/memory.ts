import type { ServiceConfiguration } from './schema/configuration.ts';
import type { TreeNode } from './tree.ts';

/**
 * What a process that reads a configuration again and again keeps of the last time: most of a file is as it was. Only
 * what says the same wherever it stands is kept, without places: a configuration with a problem is read anew, without.
 */
export type Memory = {
  /** Entries of lists at the top, by their text; what the last reading did not meet is forgotten by the next. */
  before: Map<string, TreeNode>;
  now: Map<string, TreeNode>;
  /** What sound entries are as virtual services. */
  readonly services: WeakMap<TreeNode, ServiceConfiguration>;
  /** Virtual services that are sound by themselves. */
  readonly sound: WeakSet<ServiceConfiguration>;
};

/** Nothing remembered yet. */
export function newMemory(): Memory {
  return { before: new Map(), now: new Map(), services: new WeakMap(), sound: new WeakSet() };
}

/** Begins a reading. */
export function beginReading(memory: Memory): void {
  memory.before = memory.now;
  memory.now = new Map();
}

/** Ends a reading that found no mistake: of a virtual service it is enough to know which it is. */
export function endReading(memory: Memory): void {
  memory.before = new Map();
  for (const [text, node] of memory.now) {
    const service = memory.services.get(node);
    if (!service || node.kind !== 'map' || node.members.size === 0) continue;
    const stub: TreeNode = { ...node, members: new Map() };
    memory.services.set(stub, service);
    memory.now.set(text, stub);
  }
}

/** An entry as it was read before; the same node stands in one place of a tree only. */
export function recall(memory: Memory, text: string): TreeNode | undefined {
  const node = memory.before.get(text);
  if (!node || memory.now.has(text)) return undefined;
  memory.now.set(text, node);
  return node;
}

/** Keeps an entry, unless one with the same text stands in this configuration already. */
export function remember(memory: Memory, text: string, node: TreeNode): void {
  if (!memory.now.has(text)) memory.now.set(text, node);
}
