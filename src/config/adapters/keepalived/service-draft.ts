import type { Span } from '../../../model/problem.ts';
import type { ForwardingMethod, SchedulerName, Tunnel } from '../../../model/virtual-service.ts';
import type { TreeNode } from '../../tree.ts';
import type { Endpoint } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { Timing } from './timing.ts';

/** How packets reach a server. */
export type Forwarding = { readonly method: ForwardingMethod; readonly tunnel?: Tunnel };

/** A virtual server as its block says it, before what is wrong with it is put right. */
export type ServiceDraft = {
  readonly span: Span;
  readonly where:
    | { readonly kind: 'address'; readonly endpoint: Endpoint }
    | { readonly kind: 'fwmark'; readonly mark: number }
    | { readonly kind: 'group'; readonly name: string };
  readonly timing: Timing;
  readonly realServers: RealServerDraft[];
  readonly flags: Set<'flag-1' | 'flag-2' | 'flag-3'>;
  protocol?: { readonly value: 'tcp' | 'udp' | 'sctp'; readonly span: Span };
  family?: 4 | 6;
  scheduler?: SchedulerName;
  forwarding?: Forwarding | undefined;
  onePacket?: Span;
  persistenceSeconds?: number;
  granularity?: { readonly prefix: number; readonly family: 4 | 6 };
  engine?: { readonly name: string; readonly span: Span };
  quorum?: { readonly value: number; readonly span: Span };
  hysteresis?: { readonly value: number; readonly span: Span };
  weight?: number | undefined;
  virtualHost?: string;
  name?: string;
  sorry?: SorryDraft;
  onQuorumUp?: TreeNode | undefined;
  onQuorumDown?: TreeNode | undefined;
  downOnStop?: boolean | undefined;
};

export type SorryDraft = {
  readonly span: Span;
  endpoint: Endpoint;
  forwarding?: Forwarding | undefined;
  inhibit?: Span;
};

export type RealServerDraft = {
  readonly span: Span;
  endpoint: Endpoint;
  readonly timing: Timing;
  readonly checkers: Statement[];
  forwarding?: Forwarding | undefined;
  weight?: number | undefined;
  upper?: { readonly value: number; readonly span: Span };
  lower?: { readonly value: number; readonly span: Span };
  virtualHost?: string;
  name?: string;
  onUp?: TreeNode;
  onDown?: TreeNode;
};
