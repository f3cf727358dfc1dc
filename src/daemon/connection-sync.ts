import { readFileSync } from 'node:fs';
import type { OwnController } from '../control/controller.ts';
import { digestOf } from '../control/sync-digest.ts';
import {
  type RunningSync,
  type SyncRole,
  type SyncSettings,
  syncDefaults,
} from '../model/connection-sync.ts';
import type { VrrpState, VrrpStatus } from '../model/vrrp.ts';
import type { FailoverWanted } from './failover-orders.ts';
import type { Log } from './log.ts';

type Wanted = NonNullable<FailoverWanted['connectionSync']>;

/** The processes that tell other directors of connections and hear of theirs, as a configuration wants them. */
export type ConnectionSync = {
  /** Does as a configuration says. */
  take(wanted: FailoverWanted | undefined): void;
  /** A VRRP instance of this director entered a state. */
  entered(instance: string, state: VrrpState): void;
  /** How they fared within the last second. */
  status(): readonly RunningSync[];
  /** Does work on the data plane during which no process is looked after. */
  meanwhile<T>(job: () => Promise<T>): Promise<T>;
  /** Looks after them no more; they go on. */
  stop(): void;
};

export type ConnectionSyncOptions = {
  readonly controller: Pick<OwnController, 'startSync' | 'stopSync' | 'syncDaemons'>;
  readonly log: Log;
  readonly vrrp: () => readonly VrrpStatus[];
  /** Whether the other director has still to tell of its connections, now and when that changes. */
  readonly awaits: (awaits: boolean) => void;
};

/** Processes that ended are started again within this time. */
const lookMs = 1000;
/** A director that does not say when it has told of all, as IPVS does not, is waited for so long: it has told of what is in use. */
const mostWaitMs = 10_000;
const roles: readonly SyncRole[] = ['backup', 'master'];

/** Starts nothing before it is told to; processes that an earlier daemon left go on where they are wanted as they are. */
export function openConnectionSync({ controller, log, vrrp, awaits }: ConnectionSyncOptions): ConnectionSync {
  let wanted: readonly SyncSettings[] = [];
  let configuration: FailoverWanted | undefined;
  const states = new Map<string, VrrpState>();
  let running: readonly RunningSync[] = [];
  let work: Promise<unknown> = Promise.resolve();
  let stopped = false;
  let complaint = '';
  /** From when the connections of another director are waited for. */
  let sinceMs = performance.now();
  let awaited = false;

  /** What is to run now. A secret that cannot be read is no reason to send in clear. */
  function decide(): void {
    const sync = configuration?.connectionSync;
    try {
      const secret = sync && secretOf(sync);
      wanted = sync ? rolesOf(sync.role, statesNow()).map((role) => settingsOf(sync, role, secret)) : [];
    } catch (error) {
      complain('cannot read the key of the connection sync', error);
      wanted = [];
    }
  }

  const statesNow = () =>
    (configuration?.vrrp ?? []).map(
      ({ name }) => states.get(name) ?? vrrp().find((one) => one.name === name)?.state ?? 'backup',
    );

  /** Says whether connections are awaited, where that is news. */
  function sayAwaited(): void {
    const backup = running.find(({ role }) => role === 'backup');
    const listens = controller.startSync !== undefined && wanted.some(({ role }) => role === 'backup');
    const next =
      listens &&
      // The kernel's own does not know.
      (!backup || backup.progress?.whole === false) &&
      performance.now() - sinceMs < mostWaitMs;
    if (next === awaited) return;
    awaited = next;
    if (!next && listens)
      log('info', 'connections are not awaited any more', { told: backup?.progress?.whole === true });
    awaits(next);
  }

  /** One after the other: who starts a process waits until it works. */
  function arrange(): void {
    decide();
    sayAwaited();
    work = work.then(async () => {
      if (stopped) return;
      await reconcile().catch((error) => complain('cannot arrange the connection sync', error));
      sayAwaited();
    });
  }

  async function reconcile(): Promise<void> {
    const { startSync, stopSync, syncDaemons } = controller;
    if (!startSync || !stopSync || !syncDaemons) {
      if (wanted.length > 0) complain('no connection sync', 'this data plane has none');
      return;
    }
    const before = await syncDaemons();
    const found = (role: SyncRole) => before.find((one) => one.role === role);
    const toStart = wanted.filter((one) => found(one.role)?.digest !== digestOf(one));
    const toStop = before.filter(
      ({ role, configured }) => configured && !wanted.some((one) => one.role === role),
    );
    // Who comes first, so that at a change of roles nobody is without.
    for (const settings of toStart) {
      const { role } = settings;
      if (found(role)) await stopSync(role);
      const refusal = await startSync(settings);
      if (refusal) {
        complain(`no ${role} sync process`, refusal.detail);
        continue;
      }
      complaint = '';
      log('info', 'connection sync started', { role, interface: settings.interface });
    }
    for (const { role } of toStop) {
      await stopSync(role);
      log('info', 'connection sync ended', { role });
    }
    const changed = toStart.length + toStop.length > 0;
    running = changed ? await syncDaemons() : before;
  }

  /** The same once. */
  function complain(what: string, why: unknown): void {
    const reason = why instanceof Error ? why.message : String(why);
    if (`${what}: ${reason}` === complaint) return;
    complaint = `${what}: ${reason}`;
    log('error', what, { reason });
  }

  const timer = setInterval(arrange, lookMs);
  timer.unref();
  return {
    take(next) {
      configuration = next;
      arrange();
    },
    entered(instance, state) {
      states.set(instance, state);
      if (state === 'backup') sinceMs = performance.now();
      arrange();
    },
    status: () => running,
    meanwhile(job) {
      const result = work.then(job);
      work = result.catch(() => undefined);
      return result;
    },
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

/** `auto`: whoever holds addresses tells, whoever does not listens; without VRRP both. */
function rolesOf(role: Wanted['role'], states: readonly VrrpState[]): readonly SyncRole[] {
  if (role === 'master' || role === 'backup') return [role];
  if (role === 'both' || states.length === 0) return roles;
  return roles.filter((one) => states.some((state) => (state === 'master') === (one === 'master')));
}

function settingsOf(sync: Wanted, role: SyncRole, secret: string | undefined): SyncSettings {
  const { interface: device, id, group, port, ttl, maxLength, threshold, period, refresh } = sync;
  return {
    ...{ role, interface: device, id, group: group ?? syncDefaults.group, port, ttl, configured: true },
    ...(maxLength !== undefined && { maxLength }),
    ...(threshold !== undefined && { threshold, period }),
    ...(refresh !== undefined && { refreshSeconds: refresh }),
    ...(secret !== undefined && { secret }),
  };
}

/** What messages are encrypted with; undefined: nothing. Throws where its file cannot be read, or is too short. */
export function secretOf({ key, keyFile }: Pick<Wanted, 'key' | 'keyFile'>): string | undefined {
  if (keyFile === undefined) return key;
  const text = readFileSync(keyFile, 'utf8').trim();
  if (text.length < 16) throw new Error(`"${keyFile}": wanted 16 signs or more, found ${text.length}`);
  return text;
}
