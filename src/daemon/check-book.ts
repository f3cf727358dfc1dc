import type { Job } from '../checks/runner.ts';
import type { Pools, Wanted } from '../control/wanted.ts';
import type { MemberHealth } from '../model/health.ts';
import { type HealthState, shareOf, startHealth } from '../model/health.ts';
import { type Member, memberKey, type Override } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';

type Check = Job['check'];

/** A check with what it has found, and all the entries that it speaks for. */
export type Watched = Job & {
  readonly key: string;
  state: HealthState;
  /** Results so far, and those that were not good. */
  results: number;
  failures: number;
  readonly members: readonly Member[];
  /** A person has everybody it speaks for in maintenance: nobody is checked. */
  readonly isPaused: boolean;
};

/** Checks that are the same, of the same target, are one. What a script is told of its service tells two of them apart. */
export function checkKey({ check, target }: Job): string {
  const { address, port, service } = target;
  return JSON.stringify([check, address, port, check.type === 'script' ? serviceKey(service) : '']);
}

/**
 * Every check that a configuration asks for. A check that is as it was keeps its state, one that is described anew keeps
 * whether its real server is up, and one that is new begins with what `kept` remembers, else as its configuration says.
 */
export function watchedIn(
  { table, pools }: Pick<Wanted, 'table' | 'pools'>,
  overrides: readonly Override[],
  before: ReadonlyMap<string, Watched>,
  kept: readonly MemberHealth[],
  nowMs: number,
): ReadonlyMap<string, Watched> {
  const jobs = jobsOf(table, pools);
  const resting = new Set(
    overrides
      .filter(({ state }) => state === 'maintenance')
      .flatMap(({ members }) => members.map((one) => memberKey(one.service, one.destination))),
  );
  const earlier = new Map<string, HealthState>(
    kept.map((one) => [memberKey(one.service, one.destination), stateOf(one)]),
  );
  for (const { state, members } of before.values())
    for (const one of members) earlier.set(memberKey(one.service, one.destination), state);
  return new Map(
    [...jobs].map(([key, { check, target, members }]) => {
      const same = before.get(key);
      const known = members.map((one) => earlier.get(memberKey(one.service, one.destination))).find(Boolean);
      const isPaused = members.every((one) => resting.has(memberKey(one.service, one.destination)));
      const { state, results, failures } = same ?? {
        state: known ? { ...known, against: 0 } : startHealth(check, nowMs),
        results: 0,
        failures: 0,
      };
      return [key, { key, check, target, members, isPaused, state, results, failures }] as const;
    }),
  );
}

function stateOf({ isUp, sinceMs, against, backMs, weight, last }: MemberHealth): HealthState {
  return {
    ...{ isUp, sinceMs, against },
    ...(backMs !== undefined && { backMs }),
    ...(weight !== undefined && { weight }),
    ...(last && { last }),
  };
}

function jobsOf({ services }: Wanted['table'], pools: Pools | undefined) {
  const jobs = new Map<string, Job & { readonly members: Member[] }>();
  for (const { service, destinations } of services) {
    const checks = pools?.get(serviceKey(service.id))?.checks;
    if (!checks || checks.size === 0) continue;
    for (const { address, port } of destinations) {
      const realServer = { address, port };
      const check = checks.get(destinationKey(realServer));
      if (!check) continue;
      const job = jobOf(check, realServer, service.id);
      const key = checkKey(job);
      const found = jobs.get(key) ?? { ...job, members: [] };
      jobs.set(key, found);
      found.members.push({ service: service.id, destination: realServer });
    }
  }
  return jobs;
}

/** A check of a real server: where it goes is the check's own address and port, else the real server's. */
export function jobOf(check: Check, realServer: Member['destination'], service: Member['service']): Job {
  const own = check as { readonly address?: typeof realServer.address; readonly port?: number };
  const { address = realServer.address, port = realServer.port } = own;
  return { check, target: { address, port, realServer, service } };
}

/** How everybody stands whom a check speaks for. */
export function healthIn(
  watched: Watched,
  nowMs: number,
  nextMs: number | undefined,
): readonly MemberHealth[] {
  const { check, state, members } = watched;
  const share = shareOf(state, check, nowMs)?.share;
  const { type, rise, fall } = check;
  return members.map((member) => ({
    ...member,
    ...state,
    ...{ type, rise, fall },
    ...(share !== undefined && { share }),
    ...(nextMs !== undefined && { nextMs }),
  }));
}
