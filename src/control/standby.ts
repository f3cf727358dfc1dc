import type { Address } from '../model/address.ts';
import type { Outlook } from '../model/outlook.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { localProblems, type Problem } from './problems.ts';

/** Whether clients of a virtual address come to this host, and if not, whether that is as it should be. */
export type Reach = {
  /** What keeps them away against what was wished. */
  readonly problems: readonly Problem[];
  /** Why they go to another director, which is as it should be; absent where they do not. */
  readonly standby?: string;
};

/** Under failover an address that is not on this host is with another director, or its instance says why it is not. Pure. */
export function reachOf(
  address: Address,
  outlook: Outlook | undefined,
  vrrp: readonly VrrpStatus[] = [],
): Reach {
  const problems = localProblems(address, outlook);
  const instance = vrrp.find(({ addresses }) => addresses.includes(address));
  if (problems.length === 0 || !instance) return { problems };
  const { name, state, reason, master } = instance;
  if (state === 'backup') {
    const who = master ? `${master.source} is master` : 'no master was heard yet';
    return { problems: [], standby: `standing by: VRRP instance ${name} is backup, ${who}` };
  }
  if (state === 'master') return { problems };
  const what = `VRRP instance ${name} does not take part, so nothing new is taken for ${address}: ${reason}`;
  return { problems: [{ what, remedy: 'put that right, and the instance takes part again by itself' }] };
}
