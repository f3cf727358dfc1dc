import type { Address } from '../model/address.ts';
import {
  type Fitness,
  type RejectedAdvertisement,
  stoppedReason,
  type VrrpState,
  type VrrpStatus,
} from '../model/vrrp.ts';
import { accept, doubts } from './acceptance.ts';
import { type Claims, openClaims } from './claims.ts';
import type { Arrived } from './exchange.ts';
import { hold, openAnnouncer, release } from './holding.ts';
import { putPaths, takePaths } from './paths.ts';
import type { Place } from './place.ts';
import type { HeldAddress, InstanceSettings } from './settings.ts';
import { openTrouble } from './trouble.ts';
import type { Holder } from './virtual-mac.ts';
import { openSequences } from './vrrp/authentication-header.ts';
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
  /** Who has taken its addresses tells the network, and then the other directors: each once after it has taken them. */
  tellTaken(): void;
  advertiseTaken(nowMs: number): void;
  /** Does as its group does. */
  follow(state: 'master' | 'backup', reason: string, nowMs: number): void;
  /** Gives its addresses up where it has them, as `resign` does, and takes over from nobody until it steps forward. */
  standBack(reason: string, nowMs: number): void;
  stepForward(nowMs: number): void;
  /**
   * Says that it gives its addresses up, and serves on until its successor speaks, or could have spoken: then it stops. Clients
   * do not notice.
   */
  resign(nowMs: number): void;
  isResigning(): boolean;
  /** What it asked its listener to renew is: it may have given that up meanwhile. */
  renewed(device: Holder): void;
  /** Gives its addresses up and says so. */
  stop(nowMs: number): void;
  status(nowMs: number): VrrpStatus;
};

/** Who hears of an instance. */
export type Listener = {
  /** It entered a state, with the priority it has then. */
  entered(state: VrrpState, reason: string, priority: number): void;
  /** It speaks for its addresses until then at most, milliseconds; 0: no longer. */
  holds(untilMs: number): void;
  /** Its addresses are to be held for so much longer, seconds, without waiting for the kernel; then comes `renewed`. */
  renew(device: Holder, addresses: readonly HeldAddress[], seconds: number): void;
  /** The kernel refused something: the election goes on without it. */
  failed(what: string, error: unknown): void;
};

/** Addresses outlive who holds them by no more than this: the kernel counts whole seconds (ADR 7). */
const leaseSeconds = 2;
const renewMs = 500;
/** Nobody is asked more often than this, however short the interval. */
const shortestProbeMs = 1_000;
/** DEFEND_INTERVAL of RFC 5227. */
const defendMs = 10_000;
const never = Number.POSITIVE_INFINITY;

/** An instance at the network. It begins with its first `judge`. */
export function openInstance(settings: InstanceSettings, nowMs: number, listener: Listener): Instance {
  const { name, version, routerId, downAfter, advertisementInterval: intervalMs } = settings;
  const addresses = settings.addresses.map(({ address }) => address);
  const all = [...settings.addresses, ...settings.excludedAddresses];
  let vrrp = newVrrp(settings, nowMs);
  // Those of a process that was killed.
  takePaths(settings.paths, listener.failed);
  let place: Place = { fault: 'not started' };
  let renewAtMs = never;
  /** Addresses were taken, and nobody has been told yet. */
  let [untold, unsaid] = [false, false];
  /** When the network is told again. */
  let announceAt: number[] = [];
  let [sent, received] = [0, 0];
  const sequences = openSequences();
  const trouble = openTrouble(settings.interface, intervalMs);
  const announcer = openAnnouncer();
  let claims: Claims | undefined;
  /** Others were asked who has the addresses, in this time as master. */
  let asked = false;
  let defendedMs = Number.NEGATIVE_INFINITY;
  let probeAtMs = never;
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
    const takes = stepped.actions.some((action) => action.kind === 'enter' && action.state === 'master');
    for (const action of stepped.actions) {
      if (action.kind === 'enter') enter(action.state, action.reason, nowMs);
      else if (action.kind === 'announce') tellNetwork();
      else if (!takes) advertise(action.priority, nowMs);
    }
  }

  function advertise(priority: number, nowMs: number): void {
    if ('fault' in place) return;
    const { exchange, source, device } = place;
    // A peer waits as long, and its skew, from when it hears this.
    listener.holds(vrrp.leaving ? vrrp.dueMs : priority > 0 ? nowMs + downAfter * intervalMs : 0);
    const advertisement = { version, routerId, priority, intervalMs, addresses };
    attempt('advertise', () => {
      const sequence = settings.authentication.type === 'ah' ? sequences.next() : 0;
      const mac = settings.virtualMac === 'all' ? device.mac : undefined;
      if (exchange.send(advertisement, source, settings.peers, settings.authentication, sequence, mac))
        sent += 1;
    });
  }

  function tellNetwork(): void {
    if ('fault' in place) return;
    const { device } = place;
    attempt('announce its addresses', () => announcer.announce(device, all, settings.announce.repeat));
  }

  function enter(state: VrrpState, reason: string, nowMs: number): void {
    const held = renewAtMs !== never;
    [renewAtMs, announceAt, probeAtMs, asked] = [never, [], never, false];
    [untold, unsaid] = [state === 'master', state === 'master'];
    listener.holds(state === 'master' ? nowMs + downAfter * intervalMs : 0);
    if (state === 'master') {
      renewAtMs = nowMs + renewMs;
      if (!('fault' in place)) {
        const { device } = place;
        attempt('hold its addresses', () => hold(device, all, leaseSeconds));
      }
      putPaths(settings.paths, listener.failed);
      const { delay } = settings.announce;
      // Whoever had them before may have been killed: its kernel keeps them for so long.
      probeAtMs = nowMs + leaseSeconds * 1000;
      // And may have answered for them until it heard of this.
      announceAt = [nowMs + intervalMs, ...(delay > 0 ? [nowMs + delay] : [])].toSorted((a, b) => a - b);
    } else if (held && !('fault' in place)) {
      takePaths(settings.paths, listener.failed);
      giveUp(place.device);
    }
    listener.entered(state, reason, vrrp.fitness.priority);
  }

  /** Asks who else has the addresses; the answers are read when it is asked again. */
  function lookForClaims(nowMs: number): void {
    probeAtMs = nowMs + Math.max(intervalMs, shortestProbeMs);
    if ('fault' in place) return;
    const { base, source } = place;
    attempt('look for others that have its addresses', () => {
      claims ??= openClaims(
        base,
        all.map(({ address }) => address),
        source,
      );
      const said = claims?.look() ?? [];
      const answers = asked ? said : [];
      asked = true;
      for (const claim of answers) {
        trouble.claimed(claim, nowMs);
        // RFC 5227, 2.4: an address is defended, but not without a pause.
        if (nowMs < defendedMs + defendMs) continue;
        defendedMs = nowMs;
        tellNetwork();
      }
    });
  }

  /** Its sockets stay open for longer than a time as master, for the reason that the announcer's does. */
  function leaveDevice(): void {
    claims?.close();
    announcer.close();
    [claims, probeAtMs] = [undefined, never];
  }

  function renew(nowMs: number): void {
    renewAtMs = nowMs + renewMs;
    if (!('fault' in place)) listener.renew(place.device, all, leaseSeconds);
  }

  const giveUp = (device: Holder) => attempt('give up its addresses', () => release(device, all));

  return {
    settings,
    isMaster: () => vrrp.state === 'master',
    dueMs: () =>
      vrrp.leaving ? vrrp.dueMs : Math.min(vrrp.dueMs, renewAtMs, probeAtMs, announceAt[0] ?? never),
    judge(next, fitness, now) {
      const fault = fitness.fault ?? ('fault' in next ? next.fault : undefined);
      // What is given up is given up where it was held.
      if (!('fault' in next)) place = next;
      handle({ kind: 'fitness', fitness: { ...fitness, ...(fault !== undefined && { fault }) } }, now);
      place = next;
      // What is listened at goes with its device.
      if ('fault' in next) leaveDevice();
    },
    heard(arrived, now) {
      const found = accept(arrived, settings);
      const { header, from } = arrived;
      const isRepeated = typeof found === 'object' && header && !sequences.isNew(from, header.sequence);
      const said = isRepeated ? 'replay' : found;
      if (said === undefined) return;
      if (typeof said === 'string') {
        trouble.refused(arrived.from, said, now);
        return count(said);
      }
      received += 1;
      for (const doubt of doubts(said, settings)) {
        trouble.refused(arrived.from, doubt, now);
        count(doubt);
      }
      const wasMaster = vrrp.state === 'master';
      handle({ kind: 'heard', advertisement: said, from: arrived.from }, now);
      const isOwn = !('fault' in place) && place.source === arrived.from;
      if (!wasMaster || vrrp.state !== 'master' || isOwn || said.priority === 0) return;
      if (trouble.rival(arrived.from, said.priority, now) && settings.rival === 'yield')
        handle({ kind: 'stand-back', reason: `${arrived.from} is master as well, and stays it` }, now);
    },
    work(now) {
      // The election first: a late master must not renew what it has lost.
      if (now >= vrrp.dueMs) handle({ kind: 'due' }, now);
      if (vrrp.leaving) return;
      if (now >= renewAtMs) renew(now);
      if (now >= probeAtMs) lookForClaims(now);
      if (now < (announceAt[0] ?? never)) return;
      tellNetwork();
      announceAt.shift();
      const { refresh } = settings.announce;
      if (announceAt.length === 0 && refresh > 0) announceAt = [now + refresh];
    },
    tellTaken() {
      if (untold) tellNetwork();
      untold = false;
    },
    advertiseTaken(now) {
      if (unsaid) advertise(vrrp.fitness.priority, now);
      unsaid = false;
    },
    follow: (state, reason, now) => handle({ kind: 'follow', state, reason }, now),
    standBack: (reason, now) => handle({ kind: 'stand-back', reason }, now),
    stepForward: (now) => handle({ kind: 'step-forward' }, now),
    resign: (now) => handle({ kind: 'resign' }, now),
    renewed(device) {
      if (vrrp.state !== 'master') giveUp(device);
    },
    isResigning: () => vrrp.leaving?.state === 'fault',
    stop(now) {
      if (vrrp.reason !== stoppedReason) handle({ kind: 'stop' }, now);
      leaveDevice();
    },
    status(now) {
      const { master, sinceMs, state, reason, fitness } = vrrp;
      const wrong = trouble.now(now);
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
        ...(vrrp.standsBack && { standsBack: true as const }),
        ...(wrong.length > 0 && { trouble: wrong }),
        ...{ sent, received, rejected: { ...rejected } },
      };
    },
  };
}
