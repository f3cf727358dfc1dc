import type { EventLog } from '../../control/events.ts';
import {
  type AlertFilter,
  type Downs,
  dueDowns,
  freshPace,
  isWanted,
  type Message,
  nextDownMs,
  nextReleaseMs,
  noteDowns,
  type Pace,
  type PaceLimits,
  paceEvent,
  releasePace,
} from '../../model/alert.ts';
import type { Event } from '../../model/event.ts';
import type { Alerts, Reactions } from '../../model/reaction.ts';
import type { Log } from '../log.ts';
import { commandDelivery } from './command.ts';
import { openHooks } from './hooks.ts';
import { mailDelivery } from './mail.ts';
import { type Deliver, type Outlet, type OutletLimits, openOutlet } from './outlet.ts';
import { webhookDelivery } from './webhook.ts';

export const paceLimits: PaceLimits = { messages: 10, withinMs: 60_000, listed: 50 };
export const outletLimits: OutletLimits = {
  attemptMs: 30_000,
  pauseMs: 1_000,
  longestPauseMs: 300_000,
  attempts: 15,
  waiting: 100,
};
/** How long the end of the daemon waits for what is under way. */
const farewellMs = 2_000;

export type AlertsOptions = {
  readonly events: Pick<EventLog, 'after' | 'newest' | 'subscribe'>;
  /** What the configuration in force wants; undefined while none is. */
  readonly reactions: () => Reactions | undefined;
  readonly log: Log;
  readonly now: () => Date;
  readonly limits?: { readonly pace: PaceLimits; readonly outlet: OutletLimits };
};

/** Somebody who is told, and what they have been told. */
type Target = {
  readonly filter: AlertFilter;
  readonly repeatMs: number;
  readonly outlet: Outlet;
  pace: Pace;
  readonly downs: Downs;
};

/**
 * Tells people of events as they are noted. Listening costs those who note them nothing but time for a list; everything
 * that may wait or fail has a queue of its own.
 */
export function openAlerts({
  events,
  reactions,
  log,
  now,
  limits = { pace: paceLimits, outlet: outletLimits },
}: AlertsOptions): { stop(programsMs?: number): Promise<void> } {
  const hooks = openHooks(limits.outlet, log);
  let targets = new Map<string, Target>();
  let known: Reactions | undefined;
  let seen = events.newest();
  let timer: NodeJS.Timeout | undefined;
  /** A clock that nobody sets: set back, that of the day would hold messages up for as long. */
  const nowMs = (): number => performance.now();

  /** Those that the configuration names now; who is named as before keeps what waits. */
  function follow(wanted: Reactions | undefined): void {
    if (wanted === undefined || wanted === known) return;
    known = wanted;
    const before = targets;
    targets = new Map();
    for (const { name, key, filter, repeatMs, deliver } of describe(wanted.alerts, now)) {
      const target = before.get(key) ?? {
        ...{ filter, repeatMs, outlet: openOutlet(name, deliver, limits.outlet, log) },
        ...{ pace: freshPace, downs: new Map() },
      };
      targets.set(key, target);
    }
  }

  function tell(target: Target, paced: { readonly pace: Pace; readonly message?: Message }): void {
    target.pace = paced.pace;
    if (paced.message) target.outlet.put(paced.message);
  }

  function onEvents(): void {
    for (const event of events.after(seen)) {
      seen = event.id;
      follow(reactions());
      if (known) hooks.take(event, known);
      for (const target of targets.values()) {
        if (!isWanted(event, target.filter)) continue;
        tell(target, paceEvent(target.pace, event, nowMs(), limits.pace));
        noteDowns(target.downs, event, nowMs(), target.repeatMs);
      }
    }
    arm();
  }

  /** What waits for its time: events that were too many, and real servers that are still down. */
  function onTime(): void {
    follow(reactions());
    for (const target of targets.values()) {
      tell(target, releasePace(target.pace, nowMs(), limits.pace));
      const due = dueDowns(target.downs, nowMs(), target.repeatMs, isKnown);
      if (due.length > 0) target.outlet.put(repeated(due, limits.pace.listed));
    }
    arm();
  }

  function isKnown(service: string, realServer: string): boolean {
    return known?.isDescribed(service, realServer) ?? false;
  }

  function arm(): void {
    clearTimeout(timer);
    const times = [...targets.values()].flatMap(({ pace, downs }) => [
      nextReleaseMs(pace, limits.pace) ?? [],
      nextDownMs(downs) ?? [],
    ]);
    if (times.flat().length === 0) return;
    const next = Math.min(...times.flat());
    // Waits of more than 24 days would be none at all.
    timer = setTimeout(onTime, Math.max(10, Math.min(next - nowMs(), 60_000)));
    timer.unref();
  }

  const unsubscribe = events.subscribe(onEvents);
  return {
    /** `programsMs`: how long programs have to be over; messages have two seconds. */
    async stop(programsMs = farewellMs) {
      unsubscribe();
      clearTimeout(timer);
      const outlets = [...targets.values()].map(({ outlet }) => outlet);
      const told = Promise.all(outlets.map((outlet) => outlet.idle()));
      await Promise.all([within(told, farewellMs), within(hooks.idle(), programsMs)]);
      for (const outlet of outlets) outlet.stop();
      hooks.stop();
    },
  };
}

/** Waits for something, but not longer than this. */
async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let expired: NodeJS.Timeout | undefined;
  const tooLong = new Promise<void>((resolve) => {
    expired = setTimeout(resolve, ms);
  });
  await Promise.race([work, tooLong]);
  clearTimeout(expired);
}

function repeated(due: readonly Event[], listed: number): Message {
  return { events: due.slice(0, listed), more: Math.max(0, due.length - listed), isRepeated: true };
}

type Described = {
  readonly name: string;
  /** The same while nothing about it changes. */
  readonly key: string;
  readonly filter: AlertFilter;
  readonly repeatMs: number;
  readonly deliver: Deliver;
};

function describe({ mail, webhook, command }: Alerts, now: () => Date): Described[] {
  const described = (
    kind: string,
    i: number,
    alert: AlertFilter,
    deliver: Deliver,
    repeatMs = 0,
  ): Described => ({
    name: `${kind} ${i + 1}`,
    key: `${kind} ${JSON.stringify(alert)}`,
    ...{ filter: alert, repeatMs, deliver },
  });
  return [
    ...mail.map((one, i) => described('mail', i, one, mailDelivery(one, now), one.repeat)),
    ...webhook.map((one, i) => described('webhook', i, one, webhookDelivery(one))),
    ...command.map((one, i) => described('command', i, one, commandDelivery(one.command))),
  ];
}
