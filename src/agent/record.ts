import type { Intent } from './intent.ts';
import { describeResource, type Fact, isOwnAlone, type Resource, type State } from './resource.ts';

/** One change: what was there, and what the agent has put, or was about to put, in its place. */
export type Entry = {
  readonly resource: Resource;
  readonly before: State;
  /** The last is the one wanted; one before it stands while the step from it may not be done yet. */
  readonly set: readonly string[];
};

/** What the agent did in a network namespace: enough to undo it, written before each step. */
export type AgentRecord = {
  readonly version: 1;
  readonly intent: Intent;
  /** In the order the changes were made. */
  readonly entries: readonly Entry[];
  /** By which it is known when the namespace is gone (netnsHandle); absent where the kernel does not say. */
  readonly namespace?: string;
};

export const recordVersion = 1;

/** The entry of a resource. */
export function findEntry(entries: readonly Entry[], resource: Resource): Entry | undefined {
  const words = describeResource(resource);
  return entries.find((entry) => describeResource(entry.resource) === words);
}

/** Whether a fact needs a change, given how things are. */
export function isMet(fact: Fact, text: string): boolean {
  return text === fact.want || (fact.accepts?.(text) ?? false);
}

/**
 * The entry to write down before `fact` is made true where `current` is found. What stood there before the agent came is
 * kept, unless somebody else has put another value there since: then that is what to restore.
 */
export function entryFor(fact: Fact, current: State, earlier: Entry | undefined): Entry {
  const { resource, want } = fact;
  const ours =
    earlier !== undefined &&
    (isOwnAlone(resource) || current.text === earlier.before.text || earlier.set.includes(current.text));
  return ours
    ? { resource, before: earlier.before, set: [...new Set([...earlier.set.slice(-1), current.text, want])] }
    : { resource, before: current, set: [want] };
}

/** What undoing an entry has to do where `current` is found; undefined: the resource is gone with its interface. */
export function undoing(entry: Entry, current: string | undefined): 'restore' | 'nothing' | 'leave' {
  if (current === undefined || current === entry.before.text) return 'nothing';
  return isOwnAlone(entry.resource) || entry.set.includes(current) ? 'restore' : 'leave';
}

/** The entries that facts no longer ask for, the newest first: the order to undo them in. */
export function obsoleteEntries(entries: readonly Entry[], facts: readonly Fact[]): Entry[] {
  const wanted = new Set(facts.map(({ resource }) => describeResource(resource)));
  return entries.filter(({ resource }) => !wanted.has(describeResource(resource))).reverse();
}
