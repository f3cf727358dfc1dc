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
  const verdicts = new Map(members.map((one) => [memberKey(one.service, one.destination), verdictOf(one)]));
  return {
    ...{ overrides, covers, lost: new Set(lost), verdictOf: (member: string) => verdicts.get(member) },
    ...(pools && { pools }),
  };
}

function verdictOf({ isUp, share, weight }: MemberHealth): Verdict {
  return { isUp, ...(share !== undefined && { share }), ...(weight !== undefined && { weight }) };
}

/** What has to be remembered: who is not as its check says of one that nobody has checked. */
export function healthKept(
  { members }: Pick<Health, 'members'>,
  pools: Pools | undefined,
  lost: readonly string[],
): Pick<Health, 'members' | 'lost'> {
  const kept = members.filter(({ service, destination, isUp, weight }) => {
    const rules = pools?.get(serviceKey(service));
    if (!rules) return !isUp;
    const check = rules.checks.get(destinationKey(destination));
    return check !== undefined && (isUp !== (check.initial === 'up') || weight !== undefined);
  });
  return { lost, members: kept.map(({ nextMs: _, share: __, ...rest }) => rest) };
}
