import { type Address, compareAddresses } from '../../model/address.ts';
import { type Fitness, stoppedReason, type VrrpState } from '../../model/vrrp.ts';
import type { Advertisement } from './packet.ts';

/** What an instance is told by its configuration; times in milliseconds. */
export type VrrpSettings = {
  readonly version: 2 | 3;
  readonly routerId: number;
  readonly advertisementInterval: number;
  readonly preempt: boolean;
  readonly preemptDelay: number;
  /** Advertisements that may be missed before a backup takes over. */
  readonly downAfter: number;
};

/** An instance between two events. Times are of one monotonic clock, milliseconds. */
export type Vrrp = {
  readonly state: VrrpState;
  /** Why it is in this state. */
  readonly reason: string;
  readonly sinceMs: number;
  readonly fitness: Fitness;
  /** When something is due unless something else comes first: an advertisement of a master, a backup's take-over. */
  readonly dueMs: number;
  /** Of a backup: the master it heard last, and how often that one advertises. */
  readonly master?: { readonly source: Address; readonly priority: number; readonly heardMs: number };
  readonly masterInterval: number;
  /** A person has handed its addresses over: it takes over from nobody, only where nobody is. Until it is master again. */
  readonly standsBack?: true;
  /** Since when a backup has heard nobody but a master of lower priority. */
  readonly lowerSinceMs?: number;
  /** A master that has said that it gives up: what it becomes when its successor speaks, or could have spoken. */
  readonly leaving?: { readonly state: 'backup' | 'fault'; readonly reason: string };
};

export type VrrpEvent =
  | { readonly kind: 'heard'; readonly advertisement: Advertisement; readonly from: Address }
  | { readonly kind: 'due' }
  | { readonly kind: 'fitness'; readonly fitness: Fitness }
  /** Another instance of its group changed: it does the same. */
  | { readonly kind: 'follow'; readonly state: 'master' | 'backup'; readonly reason: string }
  /** A person, or a rule, hands its addresses over: a master serves until its successor speaks. */
  | { readonly kind: 'stand-back'; readonly reason: string }
  /** It is to end in good order, likewise. */
  | { readonly kind: 'resign' }
  /** It takes over as its priority says again. */
  | { readonly kind: 'step-forward' }
  | { readonly kind: 'stop' };

export type VrrpAction =
  | { readonly kind: 'advertise'; readonly priority: number }
  /** A state was entered: addresses are to be taken or given up. */
  | { readonly kind: 'enter'; readonly state: VrrpState; readonly reason: string }
  /** Tell the network once more who has the addresses: another one claimed them. */
  | { readonly kind: 'announce' };

export type Stepped = { readonly vrrp: Vrrp; readonly actions: readonly VrrpAction[] };

/** Priority of whoever owns the addresses (RFC 9568, 5.2.4). */
const ownerPriority = 255;
const shortestIntervalMs = 10;
/** Priority of a master that gives up. */
const givesUp = 0;
/** From when a successor is to speak to when it is heard. */
const lateMs = 50;

/** An instance that has not begun. It begins with its first fitness. */
export function newVrrp(settings: VrrpSettings, nowMs: number): Vrrp {
  return {
    state: 'fault',
    reason: 'not started',
    sinceMs: nowMs,
    fitness: { priority: 1, fault: 'not started' },
    dueMs: Number.POSITIVE_INFINITY,
    masterInterval: settings.advertisementInterval,
  };
}

/** How long a backup waits beyond the advertisements it may miss: the lower its priority, the longer (RFC 9568, 6.1). */
export function skewMs({ version }: VrrpSettings, { fitness, masterInterval }: Vrrp): number {
  const share = (256 - fitness.priority) / 256;
  // RFC 3768, 6.1: of a second.
  return share * (version === 2 ? 1000 : masterInterval);
}

/** How long a backup waits for a master (RFC 9568, 6.1: Active_Down_Interval). */
export const masterDownMs = (settings: VrrpSettings, vrrp: Vrrp): number =>
  settings.downAfter * vrrp.masterInterval + skewMs(settings, vrrp);

/** What an event makes of an instance; `own` is the address it advertises from. RFC 9568, 6.4. Pure. */
export function step(
  vrrp: Vrrp,
  event: VrrpEvent,
  settings: VrrpSettings,
  own: Address,
  nowMs: number,
): Stepped {
  switch (event.kind) {
    case 'fitness':
      return becomeFit(vrrp, event.fitness, settings, nowMs);
    case 'stop':
      return enter(vrrp, 'fault', stoppedReason, settings, nowMs);
    case 'stand-back':
      return leave({ ...vrrp, standsBack: true }, { state: 'backup', reason: event.reason }, settings, nowMs);
    case 'resign':
      return vrrp.state === 'master'
        ? leave(vrrp, { state: 'fault', reason: stoppedReason }, settings, nowMs)
        : enter(vrrp, 'fault', stoppedReason, settings, nowMs);
    case 'step-forward': {
      const { standsBack: _, leaving, ...next } = vrrp;
      return leaving?.state === 'backup'
        ? advertised(next, settings, nowMs)
        : { vrrp: { ...next, ...(leaving && { leaving }) }, actions: [] };
    }
    case 'follow':
      // Who leaves does so when its own successor speaks.
      if (vrrp.state === 'fault' || vrrp.state === event.state || vrrp.leaving) return { vrrp, actions: [] };
      return follow(enter(vrrp, event.state, event.reason, settings, nowMs), settings, nowMs);
    case 'due':
      return nowMs < vrrp.dueMs ? { vrrp, actions: [] } : due(vrrp, settings, nowMs);
    case 'heard':
      if (vrrp.state === 'fault') return { vrrp, actions: [] };
      if (vrrp.leaving) return heardByLeaving(vrrp, event, settings, own, nowMs);
      return vrrp.state === 'master'
        ? heardByMaster(vrrp, event, settings, own, nowMs)
        : heardByBackup(vrrp, event, settings, nowMs);
  }
}

/**
 * Who became backup with its group has heard no master itself, and one that there is has just answered: it waits for one advertisement
 * instead of three. Where its network carries one way only there will be none, and this director is called back again and again.
 */
function follow({ vrrp, actions }: Stepped, settings: VrrpSettings, nowMs: number): Stepped {
  if (vrrp.state !== 'backup') return { vrrp, actions };
  return { vrrp: { ...vrrp, dueMs: nowMs + vrrp.masterInterval + skewMs(settings, vrrp) }, actions };
}

/** A master says that it gives up, and serves for the longest that a successor waits: its skew (RFC 9568, 6.1; RFC 3768: of a second). */
function leave(
  vrrp: Vrrp,
  leaving: NonNullable<Vrrp['leaving']>,
  { version, advertisementInterval }: VrrpSettings,
  nowMs: number,
): Stepped {
  if (vrrp.state !== 'master') return { vrrp, actions: [] };
  const dueMs = nowMs + (version === 2 ? 1000 : advertisementInterval) + lateMs;
  // Whoever was master before it is not the one that comes now.
  const { master: _, ...alone } = vrrp;
  return { vrrp: { ...alone, leaving, dueMs }, actions: [{ kind: 'advertise', priority: givesUp }] };
}

function left({ leaving, ...vrrp }: Vrrp, settings: VrrpSettings, nowMs: number): Stepped {
  const { state, reason } = leaving!;
  const { vrrp: next, actions } = enter(vrrp, state, reason, settings, nowMs);
  // It has said so.
  return { vrrp: next, actions: actions.filter(({ kind }) => kind === 'enter') };
}

function becomeFit(vrrp: Vrrp, fitness: Fitness, settings: VrrpSettings, nowMs: number): Stepped {
  const next = { ...vrrp, fitness };
  if (fitness.fault !== undefined)
    return vrrp.state === 'fault'
      ? { vrrp: { ...next, reason: fitness.fault }, actions: [] }
      : enter(next, 'fault', fitness.fault, settings, nowMs);
  if (vrrp.state !== 'fault') return { vrrp: next, actions: [] };
  // RFC 9568, 6.4.1: the owner does not wait.
  return fitness.priority === ownerPriority && !vrrp.standsBack
    ? enter(next, 'master', 'it owns the addresses', settings, nowMs)
    : enter(next, 'backup', 'it waits for a master', settings, nowMs);
}

function due(vrrp: Vrrp, settings: VrrpSettings, nowMs: number): Stepped {
  if (vrrp.leaving) return left(vrrp, settings, nowMs);
  if (vrrp.state === 'backup') {
    const reason = takeOverReason(vrrp, nowMs);
    return enter(vrrp, 'master', reason, settings, nowMs);
  }
  if (vrrp.state === 'fault') return { vrrp: { ...vrrp, dueMs: Number.POSITIVE_INFINITY }, actions: [] };
  // By now a backup has taken over: who slept must not speak as master.
  const asleepMs = nowMs - vrrp.dueMs + settings.advertisementInterval;
  if (asleepMs > settings.downAfter * settings.advertisementInterval)
    return enter(vrrp, 'backup', `it did not run for ${Math.round(asleepMs)} ms`, settings, nowMs);
  return advertised(vrrp, settings, nowMs);
}

function takeOverReason({ master, fitness, lowerSinceMs }: Vrrp, nowMs: number): string {
  if (!master) return 'no master was heard';
  if (master.priority === givesUp) return `${master.source} gave up`;
  return lowerSinceMs === undefined
    ? `nothing heard from ${master.source} for ${Math.round(nowMs - master.heardMs)} ms`
    : `priority ${fitness.priority} against ${master.priority} of ${master.source}`;
}

function advertised(vrrp: Vrrp, settings: VrrpSettings, nowMs: number, more: VrrpAction[] = []): Stepped {
  return {
    vrrp: { ...vrrp, dueMs: nowMs + settings.advertisementInterval },
    actions: [{ kind: 'advertise', priority: vrrp.fitness.priority }, ...more],
  };
}

/** A master that says 0 does not advertise without a pause. */
const learnt = ({ intervalMs }: Advertisement): number => Math.max(intervalMs, shortestIntervalMs);

type Heard = Extract<VrrpEvent, { kind: 'heard' }>;

/** RFC 9568, 6.4.2. */
function heardByBackup(
  vrrp: Vrrp,
  { advertisement, from }: Heard,
  settings: VrrpSettings,
  nowMs: number,
): Stepped {
  const { priority } = advertisement;
  const master = { source: from, priority, heardMs: nowMs };
  if (priority === givesUp)
    return { vrrp: { ...vrrp, master, dueMs: nowMs + skewMs(settings, vrrp) }, actions: [] };
  const isLower = priority < vrrp.fitness.priority;
  const lowerSinceMs = isLower ? (vrrp.lowerSinceMs ?? nowMs) : undefined;
  const waits =
    vrrp.fitness.waits || (lowerSinceMs !== undefined && nowMs - lowerSinceMs < settings.preemptDelay);
  const { lowerSinceMs: _, ...rest } = vrrp;
  const seen: Vrrp = { ...rest, master, ...(lowerSinceMs !== undefined && { lowerSinceMs }) };
  if (isLower && settings.preempt && !waits && !vrrp.standsBack) return { vrrp: seen, actions: [] };
  // Version 3: the interval is the master's.
  const next = settings.version === 3 ? { ...seen, masterInterval: learnt(advertisement) } : seen;
  return { vrrp: { ...next, dueMs: nowMs + masterDownMs(settings, next) }, actions: [] };
}

function heardByLeaving(
  vrrp: Vrrp,
  { advertisement, from }: Heard,
  settings: VrrpSettings,
  own: Address,
  nowMs: number,
): Stepped {
  const { priority } = advertisement;
  if (from === own || priority === givesUp) return { vrrp, actions: [] };
  const masterInterval = settings.version === 3 ? learnt(advertisement) : settings.advertisementInterval;
  return left(
    { ...vrrp, master: { source: from, priority, heardMs: nowMs }, masterInterval },
    settings,
    nowMs,
  );
}

/** RFC 9568, 6.4.3. */
function heardByMaster(
  vrrp: Vrrp,
  { advertisement, from }: Heard,
  settings: VrrpSettings,
  own: Address,
  nowMs: number,
): Stepped {
  const { priority } = advertisement;
  if (from === own) return { vrrp, actions: [] };
  if (priority === givesUp) return advertised(vrrp, settings, nowMs);
  const mine = vrrp.fitness.priority;
  if (priority > mine || (priority === mine && compareAddresses(from, own) > 0)) {
    const why =
      priority > mine ? `priority ${priority} against ${mine}` : `priority ${mine} and the higher address`;
    return enter(
      {
        ...vrrp,
        master: { source: from, priority, heardMs: nowMs },
        masterInterval: settings.version === 3 ? learnt(advertisement) : settings.advertisementInterval,
      },
      'backup',
      `${from} has ${why}`,
      settings,
      nowMs,
    );
  }
  return advertised(vrrp, settings, nowMs, [{ kind: 'announce' }]);
}

function enter(
  { lowerSinceMs: __, leaving: ___, ...vrrp }: Vrrp,
  state: VrrpState,
  reason: string,
  settings: VrrpSettings,
  nowMs: number,
): Stepped {
  const entered: Vrrp = { ...vrrp, state, reason, sinceMs: nowMs };
  const action: VrrpAction = { kind: 'enter', state, reason };
  const resigns: VrrpAction[] =
    vrrp.state === 'master' && state === 'fault' ? [{ kind: 'advertise', priority: givesUp }] : [];
  if (state === 'fault')
    return { vrrp: { ...entered, dueMs: Number.POSITIVE_INFINITY }, actions: [...resigns, action] };
  if (state === 'backup')
    return { vrrp: { ...entered, dueMs: nowMs + masterDownMs(settings, entered) }, actions: [action] };
  const { standsBack: _, ...forward } = entered;
  return {
    vrrp: { ...forward, dueMs: nowMs + settings.advertisementInterval },
    actions: [{ kind: 'advertise', priority: vrrp.fitness.priority }, action],
  };
}
