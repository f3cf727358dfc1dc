import type { VrrpState } from './vrrp.ts';

/** Who put a configuration in force. */
export type ConfigurationSource = 'apply' | 'run' | 'reload' | 'rollback';

/**
 * What happens to a director, and what each kind tells beside its sentence. A new kind is a line here; a kind is never
 * given a second meaning.
 */
export type EventDetails = {
  /** A configuration came into force. */
  'configuration-applied': {
    readonly generation: number;
    readonly file: string;
    readonly by: ConfigurationSource;
    /** Against the generation before: `+2 ~1 -0: ...`. */
    readonly summary: string;
  };
  /** A configuration did not come into force; what was there before is. */
  'configuration-refused': {
    readonly file: string;
    readonly by: ConfigurationSource;
    readonly reason: string;
  };
  /** An earlier generation came into force again, as a new one. */
  'rolled-back': {
    readonly generation: number;
    readonly to: number;
    readonly summary: string;
  };
  /** Rules were changed beside the configuration. */
  'runtime-change': {
    /** `ipvsadm`, or `API` for any other program. */
    readonly by: string;
    /** One line each, the first ones. */
    readonly operations: readonly string[];
    /** Operations that were done and are not in the list. */
    readonly more?: number;
    readonly refused: number;
  };
  'daemon-started': {
    readonly pid: number;
    readonly version: string;
    readonly file: string;
    readonly generation: number;
    readonly dataPlane: string;
  };
  'daemon-stopped': { readonly pid: number };
  /** A person took a real server out of service, or put it back. */
  'override-set': {
    readonly realServer: string;
    readonly state: string;
    readonly by: string;
    readonly reason?: string;
  };
  /** A check found, often enough in a row, that a real server does not serve; or that it does again. */
  'real-server-down': {
    readonly service: string;
    readonly realServer: string;
    /** The last result: `http expect: got 503, want 200-299 (4 ms)`. */
    readonly reason: string;
  };
  'real-server-up': {
    readonly service: string;
    readonly realServer: string;
    readonly reason: string;
  };
  /** The agent of a real server said up, down, ready, drain or maint, or fell silent; a weight that moves is no event. */
  'agent-said': {
    readonly service: string;
    readonly realServer: string;
    readonly reason: string;
  };
  /** A VRRP instance of this director entered a state. */
  'vrrp-transition': {
    readonly instance: string;
    readonly state: VrrpState;
    readonly reason: string;
  };
  /** Something is wrong between directors: two masters, advertisements that do not count; or it is put right. */
  'vrrp-problem': { readonly instance: string; readonly reason: string };
  'vrrp-problem-over': { readonly instance: string; readonly reason: string };
  /** Too few real servers of a service are usable: its sorry server, where it has one, takes over; or enough are again. */
  'quorum-lost': { readonly service: string; readonly quorum: number };
  'quorum-gained': { readonly service: string; readonly quorum: number };
  /** An interface that came later takes packets now. */
  'interface-attached': { readonly interface: string };
};

export type EventKind = keyof EventDetails;

const kinds: { readonly [Kind in EventKind]: true } = {
  'configuration-applied': true,
  'configuration-refused': true,
  'rolled-back': true,
  'runtime-change': true,
  'daemon-started': true,
  'daemon-stopped': true,
  'override-set': true,
  'real-server-down': true,
  'real-server-up': true,
  'quorum-lost': true,
  'quorum-gained': true,
  'agent-said': true,
  'vrrp-transition': true,
  'vrrp-problem': true,
  'vrrp-problem-over': true,
  'interface-attached': true,
};

/** Every kind there is. */
export const eventKinds = Object.keys(kinds) as [EventKind, ...EventKind[]];

/** What is told of something that happened: `what` is one sentence for a person, without a full stop. */
export type NewEvent = {
  [Kind in EventKind]: { readonly kind: Kind; readonly what: string } & EventDetails[Kind];
}[EventKind];

/** Something that happened. */
export type Event = NewEvent & {
  /** Counts the events of a director; a later one has a greater number. */
  readonly id: number;
  /** When, in ISO 8601. */
  readonly at: string;
};

/** An event for a person: a line, and where several operations were done one more for each. */
export function eventText(event: Event): string {
  const lines = [`${event.at}  ${event.kind}  ${event.what}`];
  if (event.kind === 'runtime-change' && event.operations.length > 1) {
    lines.push(...event.operations.map((operation) => `  ${operation}`));
    if (event.more !== undefined) lines.push(`  and ${event.more} more`);
  }
  return `${lines.join('\n')}\n`;
}
