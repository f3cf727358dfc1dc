import type { OutcomesOf } from '../checks/check.ts';
import { runCheck } from '../checks/run-check.ts';
import { openRunner, type RunnerOptions } from '../checks/runner.ts';
import type { Controller, OwnController } from '../control/controller.ts';
import type { NoteEvent } from '../control/events.ts';
import { putHealthInForce } from '../control/health.ts';
import { readHealth } from '../control/health-store.ts';
import { readOverrides } from '../control/override-store.ts';
import type { Wanted } from '../control/wanted.ts';
import { disagreements, disagreementText } from '../model/agreement.ts';
import type { CheckResult } from '../model/check-result.ts';
import { checkResultText } from '../model/check-result.ts';
import type { Health } from '../model/health.ts';
import { heldText, isHeld, shareOf, stepHealth } from '../model/health.ts';
import { decisionOn, type Member, memberKey } from '../model/override.ts';
import { serviceKey } from '../model/service-id.ts';
import { healthIn, type Watched, watchedIn } from './check-book.ts';
import { checkLogLine, openCheckLogs } from './check-logs.ts';
import { watchClients } from './client-connections.ts';
import type { Log } from './log.ts';
import type { Turns } from './turns.ts';

/** Results that come within this time are put in force together. */
const batchMs = 10;
/** After a failure of the data plane, until it is tried again. */
const retryMs = 1000;
/** Who comes out of maintenance is checked within this time. */
const soonMs = 200;

/** The checks of a daemon. */
export type Checks = {
  /** Checks what a configuration in force describes, and lets those in maintenance rest; what is as it was goes on. */
  follow(wanted: Wanted): void;
  /** Looks again at services that somebody has changed. */
  changed(services: Iterable<string>): void;
  /** Of all services, or of these. */
  health(services?: ReadonlySet<string>): Health;
  /** What became of the connections of clients lately. */
  readonly outcomes: OutcomesOf;
  /** For metrics. */
  watched(): Iterable<Watched>;
  stop(): void;
};

export type ChecksOptions = {
  /** Whose `health` this becomes. */
  readonly controller: () => Controller & Pick<OwnController, 'outcomes'>;
  readonly turns: Turns;
  readonly note: NoteEvent;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly runner?: Partial<Pick<RunnerOptions, 'run' | 'random' | 'most'>>;
};

/**
 * Runs checks and puts what they find in force: a result only moves a state in memory; when that turns, the services it
 * concerns are looked at in turn with all other work on the table, as many at once as have turned meanwhile.
 */
export function openChecks({ controller, turns, note, log, nowMs, runner: given }: ChecksOptions): Checks {
  let all: ReadonlyMap<string, Watched> = new Map();
  let byMember: ReadonlyMap<string, readonly Watched[]> = new Map();
  let byService: ReadonlyMap<string, readonly Watched[]> = new Map();
  let wanted: Wanted | undefined;
  const outcomes = watchClients(controller, () => performance.now());
  const run: RunnerOptions['run'] = (check, target, options) =>
    runCheck(check, target, { ...options, ...(check.type === 'passive' && { outcomes }) });
  const runner = openRunner({ random: Math.random, run, ...given, onResult, nowMs });
  const checkLogs = openCheckLogs(log);
  /** Where results are written, by serviceKey. */
  let written: ReadonlyMap<string, string> = new Map();
  const touched = new Set<string>();
  const climbing = new Map<string, NodeJS.Timeout>();
  let due: NodeJS.Timeout | undefined;
  /** Services, by serviceKey, that were without their quorum when that was last told. */
  let told: ReadonlySet<string> | undefined;
  let isStopped = false;

  function onResult(key: string, found: CheckResult): number {
    const watched = all.get(key)!;
    const { check, state: before } = watched;
    const result = check.type === 'passive' ? excused(watched, found) : compared(watched, found);
    const held = result.isGood && isHeld(before, check, nowMs());
    const state = stepHealth(before, result, check, nowMs(), held && isNeeded(watched));
    watched.state = state;
    watched.results++;
    if (!result.isGood) watched.failures++;
    if (written.size > 0) write(watched, result);
    if (state.isUp !== before.isUp) turned(watched, result);
    else if (state.isUp && state.weight !== before.weight) touch(watched);
    return state.isUp && state.against > 0 ? (check.retryInterval ?? check.interval) : check.interval;
  }

  /** For every service it speaks for: each file gets one line. */
  function write({ check, target, members }: Watched, result: CheckResult): void {
    const files = new Map(
      members.flatMap(({ service, destination }) => {
        const path = written.get(serviceKey(service));
        return path === undefined ? [] : [[path, { service, destination }] as const];
      }),
    );
    for (const [path, { service, destination }] of files) {
      const protocol = service.kind === 'fwmark' ? 'fwm' : service.protocol;
      const { address, port } = destination;
      const checked = { type: check.type, protocol, address, port: port || target.port };
      checkLogs.add(path, checkLogLine(checked, result, new Date(nowMs()), process.pid));
    }
  }

  /** A page that is not that of most others is bad where the configuration says so. */
  function compared({ check, members }: Watched, result: CheckResult): CheckResult {
    const { digest } = result;
    if (digest === undefined || !('compare' in check) || check.compare !== 'fail') return result;
    for (const { service, destination, check: place } of members) {
      const digests = new Map([[memberKey(service, destination), digest]]);
      for (const { state, members: others } of byService.get(serviceKey(service)) ?? [])
        for (const other of others) {
          const key = memberKey(other.service, other.destination);
          const theirs = state.last?.result.digest;
          const isPeer = other.check === place && serviceKey(other.service) === serviceKey(service);
          if (isPeer && theirs !== undefined && !digests.has(key)) digests.set(key, theirs);
        }
      const odd = disagreements(digests).get(memberKey(service, destination));
      if (odd?.most) {
        const { durationMs } = result;
        return { isGood: false, durationMs, digest, phase: 'expect', reason: disagreementText(odd) };
      }
    }
    return result;
  }

  /** Where the clients of all fail it is not the real servers' fault: at least half of them stay. */
  function excused(watched: Watched, result: CheckResult): CheckResult {
    if (result.isGood || !watched.state.isUp) return result;
    if (othersOf(watched).every(({ serving, total }) => serving * 2 >= total)) return result;
    const { durationMs, reason } = result;
    return { isGood: true, durationMs, detail: `it stays, for too few others serve: ${reason}` };
  }

  /** Whether a service that it speaks for has nobody else who serves: damping must not be what takes it down. */
  const isNeeded = (watched: Watched) => othersOf(watched).some(({ serving }) => serving === 0);

  /** Of each service that it speaks for: how many others serve, of how many in all. */
  function othersOf({ members }: Watched): { readonly serving: number; readonly total: number }[] {
    const overrides = readOverrides(controller());
    const own = new Set(members.map((one) => memberKey(one.service, one.destination)));
    const serves = (one: Member) =>
      !own.has(memberKey(one.service, one.destination)) &&
      !decisionOn(overrides, one.service, one.destination) &&
      (byMember.get(memberKey(one.service, one.destination)) ?? []).every(({ state }) => state.isUp);
    return members.map(({ service }) => {
      const entry = wanted?.table.services.find((one) => serviceKey(one.service.id) === serviceKey(service));
      const able = (entry?.destinations ?? []).filter(({ weight }) => weight > 0);
      const serving = able.filter((destination) => serves({ service, destination }));
      return { serving: serving.length, total: able.length };
    });
  }

  /** A check has turned; so have those real servers whose other checks are all good. */
  function turned(watched: Watched, result: CheckResult): void {
    const members = watched.members.filter((one) =>
      (byMember.get(memberKey(one.service, one.destination)) ?? []).every(
        (other) => other === watched || other.state.isUp,
      ),
    );
    tell(watched, members, result);
    touch(watched);
    if (watched.state.isUp) climb(watched);
  }

  function tell({ check, state }: Watched, members: readonly Member[], result: CheckResult): void {
    const { isUp } = state;
    const held = heldText({ ...check, ...state, ...(isHeld(state, check, nowMs()) && { isHeld: true }) });
    const found = checkResultText(check.type, result);
    const reason = held === '' ? found : `${found}; ${held}`;
    const named = new Map(
      members.map(({ service, destination }) => {
        const { names } = wanted!;
        const [of, name] = [names.serviceName(service), names.realServer(service, destination)];
        return [`${of}/${name}`, { service: of, realServer: name }];
      }),
    );
    for (const [what, whom] of named) {
      const kind = isUp ? 'real-server-up' : 'real-server-down';
      note({ kind, what: `${what} is ${isUp ? 'up' : 'down'}: ${reason}`, ...whom, reason });
      log('info', isUp ? 'real server is up' : 'real server is down', { realServer: what, reason });
    }
  }

  /** Gives weight back step by step. */
  function climb(watched: Watched): void {
    const { key, state, check } = watched;
    clearTimeout(climbing.get(key));
    climbing.delete(key);
    const rise = shareOf(state, check, nowMs());
    if (!rise) return;
    const next = () => {
      const now = all.get(key);
      if (!now) return;
      touch(now);
      climb(now);
    };
    climbing.set(key, setTimeout(next, Math.max(1, rise.moreAtMs - nowMs())));
  }

  const touch = ({ members }: Watched) => changed(members.map(({ service }) => serviceKey(service)));

  function changed(services: Iterable<string>): void {
    for (const key of services) if (wanted?.pools?.has(key)) touched.add(key);
    if (touched.size > 0) plan(batchMs);
  }

  function plan(ms: number): void {
    if (isStopped) return;
    due ??= setTimeout(() => void turns.inTurn(putInForce).catch(failed), ms);
  }

  async function putInForce(): Promise<void> {
    due = undefined;
    if (isStopped || !wanted) return;
    const services = new Set(touched);
    touched.clear();
    try {
      await putHealthInForce(controller(), wanted, services);
    } catch (error) {
      for (const key of services) touched.add(key);
      throw error;
    }
    tellQuorums();
  }

  /** Whose quorum has come or gone, whoever did it: checks, agents, a person or a configuration. At the start nobody is told. */
  function tellQuorums(): void {
    const now = new Set(readHealth(controller()).lost);
    const before = told ?? now;
    told = now;
    for (const key of now) if (!before.has(key)) tellQuorum(key, 'quorum-lost');
    for (const key of before) if (!now.has(key)) tellQuorum(key, 'quorum-gained');
  }

  function tellQuorum(key: string, kind: 'quorum-lost' | 'quorum-gained'): void {
    const entry = wanted?.table.services.find(({ service }) => serviceKey(service.id) === key);
    const rules = wanted?.pools?.get(key);
    if (!entry || !rules) return;
    const service = wanted!.names.service(entry.service.id);
    const { quorum } = rules;
    const isLost = kind === 'quorum-lost';
    const then = rules.sorryServer ? `, the sorry server ${isLost ? 'takes over' : 'leaves'}` : '';
    const what = `${service} ${isLost ? 'has lost' : 'has'} its quorum of ${quorum}${then}`;
    note({ kind, what, service, quorum });
    log('info', isLost ? 'quorum lost' : 'quorum gained', { service, quorum });
  }

  function failed(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    log('error', 'what checks have found is not in force, it is tried again', { reason });
    plan(retryMs);
  }

  return {
    follow(next) {
      wanted = next;
      written = writtenBy(next);
      const before = all;
      const kept = before.size === 0 ? readHealth(controller()).members : [];
      all = watchedIn(next, readOverrides(controller()), before, kept, nowMs());
      byMember = indexed(all.values(), ({ service, destination }) => memberKey(service, destination));
      byService = indexed(all.values(), ({ service }) => serviceKey(service));
      for (const [key, { isPaused }] of before) {
        const now = all.get(key);
        if (!now || (now.isPaused && !isPaused)) runner.stop(key);
        if (!now) clearTimeout(climbing.get(key));
      }
      for (const watched of all.values()) {
        const was = before.get(watched.key);
        if (watched.isPaused || (was && !was.isPaused)) continue;
        runner.start(watched.key, watched, was && soonMs);
        climb(watched);
      }
      tellQuorums();
    },
    changed,
    outcomes,
    health: (services) => {
      const now = nowMs();
      const asked = services
        ? new Set([...services].flatMap((key) => byService.get(key) ?? []))
        : all.values();
      const members = [...asked].flatMap((one) => healthIn(one, now, runner.nextMs(one.key)));
      const { members: kept, lost } = readHealth(controller());
      return { members: wanted ? members : kept, lost, isChecking: true };
    },
    watched: () => all.values(),
    stop() {
      isStopped = true;
      clearTimeout(due);
      for (const timer of climbing.values()) clearTimeout(timer);
      runner.close();
      checkLogs.stop();
    },
  };
}

function writtenBy({ table, names, reactions }: Wanted): ReadonlyMap<string, string> {
  return new Map(
    table.services.flatMap(({ service: { id } }) => {
      const path = reactions?.services.get(names.serviceName(id))?.checkLog;
      return path === undefined ? [] : [[serviceKey(id), path] as const];
    }),
  );
}

/** Checks by something of the entries they speak for. */
function indexed(
  all: Iterable<Watched>,
  keyOf: (member: Member) => string,
): ReadonlyMap<string, readonly Watched[]> {
  const index = new Map<string, Watched[]>();
  for (const watched of all)
    for (const member of watched.members) {
      const key = keyOf(member);
      const found = index.get(key);
      if (!found) index.set(key, [watched]);
      else if (found.at(-1) !== watched) found.push(watched);
    }
  return index;
}
