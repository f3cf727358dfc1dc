import type { Address } from './address.ts';
import { HeadgateError } from './errors.ts';
import type { VrrpStatus } from './vrrp.ts';

/** What a person wants of virtual addresses. */
export type HandOverRequest = {
  /** An instance or a group; all instances that are master where it is left out. */
  readonly name?: string;
  /** The director that is to take over. */
  readonly to?: Address;
  /** Take over again as the priority says. */
  readonly back: boolean;
  /** Otherwise it is only said what it comes to. */
  readonly yes: boolean;
  /** Who asks. */
  readonly by: string;
};

/** What becomes of an instance. */
export type HandedOver = {
  readonly instance: string;
  readonly interface: string;
  readonly state: VrrpStatus['state'];
  readonly priority: number;
  readonly addresses: readonly Address[];
  /** Directors that would take over, as far as they are known; a backup says nothing. */
  readonly to: readonly Address[];
  /** Virtual services at its addresses. */
  readonly services: readonly { readonly name: string; readonly active: number }[];
};

/** What handing addresses over comes to. */
export type HandOver = {
  readonly back: boolean;
  readonly done: boolean;
  /** Whether the other director is told of connections. */
  readonly connectionsAreTold: boolean;
  readonly instances: readonly HandedOver[];
};

/** What a configuration says of an instance and of a group. */
type Instances = readonly {
  readonly name: string;
  readonly interface: string;
  readonly peers: readonly Address[];
}[];
type Groups = readonly { readonly name: string; readonly instances: readonly string[] }[];

/** The instances a request is about, with those of their groups: they move together. Throws HG_FAILOVER. */
export function handedOver(
  { name, to, back }: Pick<HandOverRequest, 'name' | 'to' | 'back'>,
  { vrrp, groups }: { readonly vrrp: Instances; readonly groups: Groups },
  statuses: readonly VrrpStatus[],
): readonly Omit<HandedOver, 'services'>[] {
  const fail = (what: string, hint?: string): never => {
    throw new HeadgateError('HG_FAILOVER', what, hint === undefined ? {} : { hint });
  };
  const fits = ({ state, standsBack }: VrrpStatus) => (back ? standsBack === true : state === 'master');
  const group = groups.find((one) => one.name === name);
  const wanted =
    name === undefined
      ? statuses.filter(fits).map((one) => one.name)
      : (group?.instances ?? vrrp.filter((one) => one.name === name).map((one) => one.name));
  if (name !== undefined && wanted.length === 0)
    fail(
      `Cannot hand over "${name}": wanted a VRRP instance or a group, found ${known(vrrp, groups)}`,
      'headgate status',
    );
  const together = new Set(wanted);
  for (const { instances } of groups)
    if (instances.some((one) => together.has(one))) for (const one of instances) together.add(one);
  const found = statuses.filter((one) => together.has(one.name));
  if (!found.some(fits))
    fail(
      back
        ? 'Cannot take anything back: nothing was handed over'
        : 'Cannot hand anything over: no instance is master here',
    );
  const about = found.map(({ name: instance, state, priority, addresses, master }) => {
    const { interface: device, peers } = vrrp.find((one) => one.name === instance)!;
    return {
      ...{ instance, interface: device, state, priority, addresses },
      to: peers.length > 0 ? peers : master ? [master.source] : [],
    };
  });
  const other = about.find((one) => to !== undefined && one.to.some((address) => address !== to));
  if (other)
    fail(
      `Cannot hand over to ${to}: of ${other.to.join(', ')} the one with the highest priority takes ${other.instance}`,
      'hand over without --to, or stop the others first',
    );
  return about;
}

const known = (vrrp: Instances, groups: Groups): string =>
  [...vrrp, ...groups].map(({ name }) => name).join(', ') || 'none';
