import type { MemberAgent } from '../model/agent-state.ts';
import type { Cover, Decisions } from '../model/cover.ts';
import type { Health, MemberHealth } from '../model/health.ts';
import { memberKey, type Override } from '../model/override.ts';
import type { AgentVerdict, Verdict } from '../model/pool.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Pools } from './wanted.ts';

/** What is known of real servers, as far as it decides about them. */
export type HealthKept = Pick<Health, 'members' | 'lost' | 'agents'>;

/** What lies over a table: what checks and agents say beside what people have decided. */
export function decisionsOf(
  { members, lost, agents = [] }: HealthKept,
  others: {
    readonly overrides: readonly Override[];
    readonly pools: Pools | undefined;
    readonly covers: readonly Cover[];
  },
): Decisions {
  const { overrides, pools, covers } = others;
  const verdicts = verdictsIn(members);
  const said = new Map(agents.map((one) => [memberKey(one.service, one.destination), one]));
  return {
    ...{ overrides, covers, lost: new Set(lost), verdictOf: (member: string) => verdicts.get(member) },
    ...(pools && { pools }),
    agentOf(member) {
      const agent = said.get(member);
      return agent && agentVerdict(agent);
    },
  };
}

function agentVerdict({ factor, down, whenDown, admission, maxConnections }: MemberAgent): AgentVerdict {
  return {
    ...{ factor, isDown: down !== undefined, whenDown },
    ...(admission && { admission: admission === 'maint' ? 'maintenance' : 'drain' }),
    ...(maxConnections !== undefined && { maxConnections }),
  };
}

/** What all checks of an entry come to: it is up while all are good, and the least weight that one asks for is its own. */
function verdictsIn(members: readonly MemberHealth[]): ReadonlyMap<string, Verdict> {
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

/** What has to be remembered: who is not as its check says of one that nobody has checked, and what agents have said. */
export function healthKept(
  { members, agents = [] }: HealthKept,
  pools: Pools | undefined,
  lost: readonly string[],
): HealthKept {
  const kept = members.filter(({ service, destination, check: place, isUp, weight, falls }) => {
    const rules = pools?.get(serviceKey(service));
    if (!rules) return !isUp;
    const check = rules.checks.get(destinationKey(destination))?.[place];
    const isPlain = isUp === (check?.initial === 'up') && weight === undefined && falls === undefined;
    return check !== undefined && !isPlain;
  });
  const heard = agents.filter(({ service, destination, answeredMs }) => {
    const rules = pools?.get(serviceKey(service));
    return answeredMs !== undefined && (!rules || rules.agents?.has(destinationKey(destination)));
  });
  return {
    ...{ lost, members: kept.map(({ nextMs: _, share: __, ...rest }) => rest) },
    ...(heard.length > 0 && { agents: heard }),
  };
}
