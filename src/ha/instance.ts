import type { Address } from '../model/address.ts';
import type { Fitness, RejectedAdvertisement, VrrpState, VrrpStatus } from '../model/vrrp.ts';
import { accept, doubts } from './acceptance.ts';
import type { Arrived } from './exchange.ts';
import { announce, hold, release } from './holding.ts';
import type { Place } from './place.ts';
import type { InstanceSettings } from './settings.ts';
import { newVrrp, step, type VrrpEvent } from './vrrp/machine.ts';

export type Instance = {
  readonly settings: InstanceSettings;
  /** Whether it holds its addresses. */
  isMaster(): boolean;
  /** When something is to be done unless something is heard before. */
  dueMs(): number;
  /** The network has changed, or what the daemon makes of the instance. */
  judge(place: Place, fitness: Fitness, nowMs: number): void;
  /** Something arrived where it listens. */
  heard(arrived: Arrived, nowMs: number): void;
  /** Does what is due. */
  work(nowMs: number): void;
  /** Does as its group does. */
  follow(state: 'master' | 'backup', reason: string, nowMs: number): void;
  /** Gives its addresses up and says so. */
  stop(nowMs: number): void;
  status(nowMs: number): VrrpStatus;
};

/** Who hears of an instance. */
export type Listener = {
  /** It entered a state. */
  entered(state: VrrpState, reason: string): void;
  /** The kernel refused something: the election goes on without it. */
  failed(what: string, error: unknown): void;
};

/** Addresses outlive who holds them by no more than this: the kernel counts whole seconds (ADR 7). */
const leaseSeconds = 2;
const renewMs = 500;
const never = Number.POSITIVE_INFINITY;

/** An instance at the network. It begins with its first `judge`. */
export function openInstance(settings: InstanceSettings, nowMs: number, listener: Listener): Instance {
  const { name, version, routerId, advertisementInterval: intervalMs } = settings;
  const addresses = settings.addresses.map(({ address }) => address);
  const all = [...settings.addresses, ...settings.excludedAddresses];
  let vrrp = newVrrp(settings, nowMs);
  let place: Place = { fault: 'not started' };
  let [renewAtMs, announceAtMs] = [never, never];
  let [sent, received] = [0, 0];
  const rejected: Partial<Record<RejectedAdvertisement, number>> = {};
  const count = (why: RejectedAdvertisement) => {
    rejected[why] = (rejected[why] ?? 0) + 1;
  };
  const attempt = (what: string, work: () => void) => {
    try {
      work();
    } catch (error) {
      listener.failed(what, error);
    }
  };

  function handle(event: VrrpEvent, nowMs: number): void {
    // Without a place it is in fault, and hears nobody it would be compared with.
    const own = 'fault' in place ? ('0.0.0.0' as Address) : place.source;
    const stepped = step(vrrp, event, settings, own, nowMs);
    ({ vrrp } = stepped);
    for (const action of stepped.actions) {
      if (action.kind === 'advertise') advertise(action.priority);
      else if (action.kind === 'announce') tellNetwork();
      else enter(action.state, action.reason, nowMs);
    }
  }

  function advertise(priority: number): void {
    if ('fault' in place) return;
    const { exchange, source } = place;
    const advertisement = { version, routerId, priority, intervalMs, addresses };
    attempt('advertise', () => {
      if (exchange.send(advertisement, source, settings.peers, settings.authentication)) sent += 1;
    });
  }

  function tellNetwork(): void {
    if ('fault' in place) return;
    const { device } = place;
    attempt('announce its addresses', () => announce(device, all, settings.announce.repeat));
  }

  function enter(state: VrrpState, reason: string, nowMs: number): void {
    const held = renewAtMs !== never;
    [renewAtMs, announceAtMs] = [never, never];
    if (state === 'master') {
      renew(nowMs);
      tellNetwork();
      const { delay, refresh } = settings.announce;
      announceAtMs = delay > 0 ? nowMs + delay : refresh > 0 ? nowMs + refresh : never;
    } else if (held && !('fault' in place)) {
      const { device } = place;
      attempt('give up its addresses', () => release(device, all));
    }
    listener.entered(state, reason);
  }

  function renew(nowMs: number): void {
    renewAtMs = nowMs + renewMs;
    if ('fault' in place) return;
    const { device } = place;
    attempt('hold its addresses', () => hold(device, all, leaseSeconds));
  }

  return {
    settings,
    isMaster: () => vrrp.state === 'master',
    dueMs: () => Math.min(vrrp.dueMs, renewAtMs, announceAtMs),
    judge(next, fitness, now) {
      const fault = fitness.fault ?? ('fault' in next ? next.fault : undefined);
      // What is given up is given up where it was held.
      if (!('fault' in next)) place = next;
      handle({ kind: 'fitness', fitness: { ...fitness, ...(fault !== undefined && { fault }) } }, now);
      place = next;
    },
    heard(arrived, now) {
      const said = accept(arrived, settings);
      if (said === undefined) return;
      if (typeof said === 'string') return count(said);
      received += 1;
      for (const doubt of doubts(said, settings)) count(doubt);
      handle({ kind: 'heard', advertisement: said, from: arrived.from }, now);
    },
    work(now) {
      // The election first: a late master must not renew what it has lost.
      if (now >= vrrp.dueMs) handle({ kind: 'due' }, now);
      if (now >= renewAtMs) renew(now);
      if (now < announceAtMs) return;
      tellNetwork();
      const { refresh } = settings.announce;
      announceAtMs = refresh > 0 ? now + refresh : never;
    },
    follow: (state, reason, now) => handle({ kind: 'follow', state, reason }, now),
    stop: (now) => handle({ kind: 'stop' }, now),
    status(now) {
      const { master, sinceMs, state, reason, fitness } = vrrp;
      return {
        ...{ name, state, reason, priority: fitness.priority, forMs: Math.round(now - sinceMs) },
        addresses: all.map(({ address }) => address),
        ...(!('fault' in place) && { source: place.source }),
        ...(master && {
          master: {
            source: master.source,
            priority: master.priority,
            agoMs: Math.round(now - master.heardMs),
          },
        }),
        ...{ sent, received, rejected: { ...rejected } },
      };
    },
  };
}
