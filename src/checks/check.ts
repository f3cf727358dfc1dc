import type { Check } from '../config/schema/check.ts';
import type { Address } from '../model/address.ts';
import type { CheckPhase, CheckResult } from '../model/check-result.ts';
import type { Outcomes } from '../model/outcome.ts';
import type { ServiceId } from '../model/virtual-service.ts';

/** Checks of one type, with what the configuration says about them. */
export type CheckOf<Type extends Check['type']> = Extract<Check, { type: Type }>;

/** What is checked. */
export type CheckTarget = {
  /** Where it is checked: the check's own address and port, else those of the real server. */
  readonly address: Address;
  readonly port: number;
  /** Where packets go in the data plane: what a script is told, beside the virtual service. */
  readonly realServer: { readonly address: Address; readonly port: number };
  readonly service: ServiceId;
};

/** What passed between a check and a real server, for `headgate check --verbose`; secrets are left out by who says it. */
export type DialogueLine = {
  readonly direction: 'sent' | 'received' | 'note';
  readonly text: string;
};

/** What checks need of an AbortSignal, which costs as much as a handshake to make. */
export type EndSignal = {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
};

/** What a check is run with. */
export type CheckContext = {
  readonly target: CheckTarget;
  /** Aborted when the time is over or nobody waits any more: everything that is open is to be closed then. */
  readonly signal: EndSignal;
  readonly tell: (line: DialogueLine) => void;
  /** Absent: nobody looks. */
  readonly outcomes?: OutcomesOf | undefined;
};

/** What became of the connections of clients to a target lately; undefined where the data plane does not say. */
export type OutcomesOf = (target: CheckTarget, withinMs: number) => Promise<Outcomes | undefined>;

/** What a good check found. */
export type Passed = Pick<
  CheckResult & { readonly isGood: true },
  'detail' | 'warning' | 'weight' | 'digest'
>;

/** Runs one check of a type: resolves where it is good, rejects with a CheckFailure where it is not. */
export type RunCheck<Type extends Check['type']> = (
  check: CheckOf<Type>,
  context: CheckContext,
) => Promise<Passed>;

/** Why a check is not good. Any other error of a check is a fault of ours. */
export class CheckFailure extends Error {
  readonly phase: CheckPhase;
  constructor(phase: CheckPhase, reason: string) {
    super(reason);
    this.phase = phase;
  }
}
