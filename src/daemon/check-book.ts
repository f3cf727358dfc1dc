import type { Job } from '../checks/runner.ts';
import type { Pools, Wanted } from '../control/wanted.ts';
import { type HealthState, isHeld, letGo, type MemberHealth, shareOf, startHealth } from '../model/health.ts';
import { type Member, memberKey, type Override } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';

type Check = Job['check'];

/** An entry that a check speaks for, and which of its checks that is. */
export type Spoken = Member & { readonly check: number };

/** A check with what it has found, and all the entries that it speaks for. */
export type Watched = Job & {
  readonly key: string;
  state: HealthState;
  /** Results so far, and those that were not good. */
  results: number;
  failures: number;
  readonly members: readonly Spoken[];
  /** A person has everybody it speaks for in maintenance: nobody is checked. */
  readonly isPaused: boolean;
};

/**
 * Checks that are the same, of the same target, are one. What a script is told of its service tells two of them apart, and
 * clients of one service are not those of another.
 */
export function checkKey({ check, target }: Job): string {
  const { address, port, service } = target;
  return `${address} ${port} ${ofService.includes(check.type) ? serviceKey(service) : ''} ${textOf(check)}`;
}

const ofService: readonly Check['type'][] = ['script', 'passive'];
const texts = new WeakMap<Check, string>();

function textOf(check: Check): string {
  const text = texts.get(check) ?? JSON.stringify(check);
  texts.set(check, text);
  return text;
}

const placeKey = ({ service, destination, check }: Spoken): string =>
  `${memberKey(service, destination)} ${check}`;

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
  const resting = new Set(
    overrides
      .filter(({ state }) => state === 'maintenance')
      .flatMap(({ members }) => members.map((one) => memberKey(one.service, one.destination))),
  );
  const earlier = new Map<string, HealthState>(kept.map((one) => [placeKey(one), stateOf(one)]));
  for (const { state, members } of before.values())
    for (const one of members) earlier.set(placeKey(one), state);
  return new Map(
    [...jobsOf(table, pools)].map(([key, { check, target, members }]) => {
      const known = members.map((one) => earlier.get(placeKey(one))).find((state) => state !== undefined);
      const isPaused = members.every((one) => resting.has(memberKey(one.service, one.destination)));
      const { state, results, failures } = before.get(key) ?? {
        state: known ? { ...known, against: 0 } : startHealth(check, nowMs),
        results: 0,
        failures: 0,
      };
      // Who was in maintenance was looked after: it begins with a clean sheet.
      const now = isPaused ? letGo(state) : state;
      return [key, { key, check, target, members, isPaused, state: now, results, failures }] as const;
    }),
  );
}

function stateOf(one: MemberHealth): HealthState {
  const { isUp, sinceMs, against, backMs, weight, falls, heldUntilMs, last } = one;
  return {
    ...{ isUp, sinceMs, against },
    ...(backMs !== undefined && { backMs }),
    ...(falls && { falls }),
    ...(heldUntilMs !== undefined && { heldUntilMs }),
    ...(weight !== undefined && { weight }),
    ...(last && { last }),
  };
}

function jobsOf({ services }: Wanted['table'], pools: Pools | undefined) {
  const jobs = new Map<string, Job & { readonly members: Spoken[] }>();
  for (const { service, destinations } of services) {
    const checks = pools?.get(serviceKey(service.id))?.checks;
    if (!checks || checks.size === 0) continue;
    for (const { address, port } of destinations)
      for (const [place, check] of (checks.get(destinationKey({ address, port })) ?? []).entries()) {
        const member = { service: service.id, destination: { address, port }, check: place };
        const job = jobOf(check, member);
        const key = checkKey(job);
        const found = jobs.get(key) ?? { ...job, members: [] };
        jobs.set(key, found);
        found.members.push(member);
      }
  }
  return jobs;
}

/** A check of a real server: where it goes is the check's own address and port, else the real server's. */
export function jobOf(check: Check, { destination, service }: Member): Job {
  const own = check as { readonly address?: typeof destination.address; readonly port?: number };
  const { address = destination.address, port = destination.port } = own;
  return { check, target: { address, port, realServer: destination, service } };
}

/** How everybody stands whom a check speaks for. */
export function healthIn(
  { check, state, members }: Watched,
  nowMs: number,
  nextMs: number | undefined,
): readonly MemberHealth[] {
  const share = shareOf(state, check, nowMs)?.share;
  const { type, rise, fall } = check;
  return members.map((member) => ({
    ...member,
    ...state,
    ...{ type, rise, fall },
    ...(isHeld(state, check, nowMs) && { isHeld: true as const }),
    ...(share !== undefined && { share }),
    ...(nextMs !== undefined && { nextMs }),
  }));
}
