import type { Span } from '../../../model/problem.ts';
import type { ScalarNode, ScalarValue, TreeNode } from '../../tree.ts';
import type { Tell } from '../adapter.ts';
import { scalarAt } from '../build-tree.ts';
import type { DirectiveName } from './directives.ts';
import type { Service } from './service.ts';

/** Keys of a check; what is undefined is left out. */
export type Entries = Readonly<Record<string, TreeNode | ScalarValue | undefined>>;

/** What is found out while a service is turned into a configuration. */
export type Findings = {
  readonly tell: Tell;
  /** The directives that had an effect. */
  readonly used: Set<DirectiveName>;
};

/** What a check is, and which of ldirectord's timeouts holds for it. */
export type Found = {
  readonly entries: Entries;
  readonly timeoutBy: 'checktimeout' | 'negotiatetimeout';
};

/** A text with the place that says it. */
export type Placed = { readonly text: string; readonly span: Span } | undefined;

/** A directive's value with its place; it counts as used from then on. */
export function use({ settings }: Service, name: DirectiveName, { used }: Findings): Placed {
  used.add(name);
  const found = settings.given.get(name);
  return found && { text: found.text, span: found.line.value?.span ?? found.line.span };
}

/** The place that asks for the kind of check a service has. */
export function askedAt({ settings, head }: Service): Span {
  return (settings.given.get('checktype') ?? settings.given.get('service'))?.line.span ?? head.span;
}

/** The type of a check, at the place that asks for it. */
export function typeNode(type: string, service: Service): ScalarNode {
  return scalarAt(askedAt(service), type);
}
