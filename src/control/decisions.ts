import type { Cover, Decisions } from '../model/cover.ts';
import type { Health, MemberHealth } from '../model/health.ts';
import { memberKey, type Override } from '../model/override.ts';
import type { Verdict } from '../model/pool.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Pools } from './wanted.ts';

/** What lies over a table: what checks have found beside what people have decided. */
export function decisionsOf(
  { members, lost }: Pick<Health, 'members' | 'lost'>,
  others: {
    readonly overrides: readonly Override[];
    readonly pools: Pools | undefined;
    readonly covers: readonly Cover[];
  },
): Decisions {
  const { overrides, pools, covers } = others;
  const verdicts = verdictsIn(members);
  return {
    ...{ overrides, covers, lost: new Set(lost), verdictOf: (member: string) => verdicts.get(member) },
    ...(pools && { pools }),
  };
}

/** What all checks of an entry come to: it is up while all are good, and the least weight that one asks for is its own. */
export function verdictsIn(members: readonly MemberHealth[]): ReadonlyMap<string, Verdict> {
  const verdicts = new Map<string, Verdict>();
  for (const one of members) {
    const key = memberKey(one.service, one.destination);
    const before = verdicts.get(key);
    const share = least(before?.share, one.share);
    const weight = least(before?.weight, one.weight);
    verdicts.set(key, {
      isUp: one.isUp && before?.isUp !== false,
      ...(share !== undefined && { share }),
      ...(weight !== undefined && { weight }),
    });
  }
  return verdicts;
}

function least(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** What has to be remembered: who is not as its check says of one that nobody has checked. */
export function healthKept(
  { members }: Pick<Health, 'members'>,
  pools: Pools | undefined,
  lost: readonly string[],
): Pick<Health, 'members' | 'lost'> {
  const kept = members.filter(({ service, destination, check: place, isUp, weight }) => {
    const rules = pools?.get(serviceKey(service));
    if (!rules) return !isUp;
    const check = rules.checks.get(destinationKey(destination))?.[place];
    return check !== undefined && (isUp !== (check.initial === 'up') || weight !== undefined);
  });
  return { lost, members: kept.map(({ nextMs: _, share: __, ...rest }) => rest) };
}
