import type { Event, EventKind } from './event.ts';

/** What people are told of unless they say otherwise: what becomes of services. */
export const alertKinds = [
  'real-server-down',
  'real-server-up',
  'quorum-lost',
  'quorum-gained',
] as const satisfies readonly EventKind[];

/** Which events somebody is told of. */
export type AlertFilter = {
  readonly on: readonly EventKind[];
  /** Only events of these virtual services; undefined: all events. */
  readonly services?: readonly string[] | undefined;
};

export function isWanted(event: Event, { on, services }: AlertFilter): boolean {
  if (!on.includes(event.kind)) return false;
  const service = serviceOfEvent(event);
  return services === undefined || (service !== undefined && services.includes(service));
}

/** The name of the virtual service an event is about; of one with several addresses without the address. */
export function serviceOfEvent(event: Event): string | undefined {
  return 'service' in event ? event.service.replace(/ \(.*\)$/s, '') : undefined;
}

/** What is told at once: an event, or several where too many came for one message each. */
export type Message = {
  /** The first ones. */
  readonly events: readonly Event[];
  /** Events that are not listed. */
  readonly more: number;
  /** Whether it was told before and still holds. */
  readonly isRepeated?: boolean;
};

/** At most so many messages within so long a time. */
export type PaceLimits = {
  readonly messages: number;
  readonly withinMs: number;
  /** Events that one message lists. */
  readonly listed: number;
};

/** Messages that went out lately, and events that wait for their turn. */
export type Pace = {
  readonly sentMs: readonly number[];
  readonly held: readonly Event[];
  readonly more: number;
};

export const freshPace: Pace = { sentMs: [], held: [], more: 0 };

type Paced = { readonly pace: Pace; readonly message?: Message };

/** An event happened: it goes out as a message of its own, or waits for those before it. */
export function paceEvent(pace: Pace, event: Event, nowMs: number, limits: PaceLimits): Paced {
  const isFull = pace.held.length >= limits.listed;
  const waiting: Pace = isFull ? { ...pace, more: pace.more + 1 } : { ...pace, held: [...pace.held, event] };
  return releasePace(waiting, nowMs, limits);
}

/** Everything that waits goes out as one message, once there may be one. */
export function releasePace(pace: Pace, nowMs: number, limits: PaceLimits): Paced {
  const sentMs = pace.sentMs.filter((sent) => sent > nowMs - limits.withinMs);
  if (pace.held.length === 0 || sentMs.length >= limits.messages) return { pace: { ...pace, sentMs } };
  return {
    pace: { sentMs: [...sentMs, nowMs], held: [], more: 0 },
    message: { events: pace.held, more: pace.more },
  };
}

/** When `releasePace` will have something to say; undefined where nothing waits. */
export function nextReleaseMs({ held, sentMs }: Pace, limits: PaceLimits): number | undefined {
  if (held.length === 0) return undefined;
  return (sentMs.at(-limits.messages) ?? Number.NEGATIVE_INFINITY) + limits.withinMs;
}

/** The message in one line. */
export function messageTitle({ events, more, isRepeated }: Message): string {
  const [first, ...others] = events;
  const rest = others.length + more;
  const said = `${isRepeated ? 'still: ' : ''}${first?.what ?? ''}`;
  return rest === 0 ? said : `${said}, and ${rest} more`;
}

/** The message for a person: a line for each event. */
export function messageText({ events, more, isRepeated }: Message): string {
  const lines = events.map(({ at, kind, what }) => `${at}  ${kind}  ${isRepeated ? 'still: ' : ''}${what}`);
  return `${[...lines, ...(more > 0 ? [`and ${more} more`] : [])].join('\n')}\n`;
}

/** Real servers that are down, with the event that said so and when it is told again; what is due first comes first. */
export type Downs = Map<string, { readonly event: Event; readonly nextMs: number }>;

/** Keeps in mind what is to be told again, every `everyMs`; 0: nothing. Changes `downs`: it may be of thousands. */
export function noteDowns(downs: Downs, event: Event, nowMs: number, everyMs: number): void {
  if (event.kind !== 'real-server-down' && event.kind !== 'real-server-up') return;
  const key = `${event.service} ${event.realServer}`;
  downs.delete(key);
  if (event.kind === 'real-server-down' && everyMs > 0) downs.set(key, { event, nextMs: nowMs + everyMs });
}

/** When `dueDowns` will have something to tell; undefined where nothing is kept in mind. */
export function nextDownMs(downs: Downs): number | undefined {
  return downs.values().next().value?.nextMs;
}

/** What is to be told again now; its next time is set. `isKnown` says whether a real server is still described. */
export function dueDowns(
  downs: Downs,
  nowMs: number,
  everyMs: number,
  isKnown: (service: string, realServer: string) => boolean,
): readonly Event[] {
  const due: Event[] = [];
  for (const [key, { event, nextMs }] of downs) {
    if (nextMs > nowMs) break;
    downs.delete(key);
    if (event.kind !== 'real-server-down' || !isKnown(event.service, event.realServer)) continue;
    due.push(event);
    downs.set(key, { event, nextMs: nowMs + everyMs });
  }
  return due;
}
