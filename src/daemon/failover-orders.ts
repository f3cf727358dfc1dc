import type { FromFile } from '../control/load-wanted.ts';
import type { Wanted } from '../control/wanted.ts';
import type { InstanceSettings, Orders } from '../ha/settings.ts';
import type { Health } from '../model/health.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Tracked } from '../model/vrrp.ts';

export type FailoverWanted = NonNullable<FromFile['failover']>;
type Instance = FailoverWanted['vrrp'][number];

/** keepalived's: what a master does where nobody says more (RFC 5227 asks for two announcements or more). */
const announceDefaults = { repeat: 5, delay: 5000, refresh: 0 };
/** RFC 9568, 6.1: three advertisements and the skew. */
const downAfter = 3;

/** Why a script or a virtual service is not well, by its name; undefined where it is. */
export type Faults = {
  script(name: string): string | undefined;
  service(name: string): string | undefined;
};

/** What a configuration says and this version does not do, a sentence each. */
export function notActedOn({ vrrp, connectionSync }: FailoverWanted): readonly string[] {
  return [
    ...vrrp.flatMap(({ name, virtualMac, accept, authentication }) => [
      ...(virtualMac ? [`${name}: virtualMac`] : []),
      ...(accept ? [] : [`${name}: accept`]),
      ...(authentication?.type === 'ah' ? [`${name}: authentication ah`] : []),
    ]),
    ...(connectionSync ? ['connectionSync'] : []),
  ];
}

/** What the failover process is told. Pure. */
export function ordersOf({ vrrp, groups }: FailoverWanted, faults: Faults): Orders {
  return {
    instances: vrrp.map(settingsOf),
    tracking: Object.fromEntries(
      vrrp.map((one) => [one.name, { priority: one.priority, tracked: trackedBy(one, faults) }]),
    ),
    groups: Object.fromEntries(groups.map(({ name, instances }) => [name, instances])),
  };
}

function settingsOf(one: Instance): InstanceSettings {
  const { name, interface: device, routerId, advertisementInterval, preempt, preemptDelay } = one;
  return {
    ...{ name, interface: device, routerId, advertisementInterval, preempt, preemptDelay, downAfter },
    version: one.version === 2 ? 2 : 3,
    ...(one.source !== undefined && { source: one.source }),
    ...{ peers: one.peers, addresses: one.addresses, excludedAddresses: one.excludedAddresses },
    authentication: one.authentication ?? { type: 'none', secret: '' },
    announce: one.announce ?? announceDefaults,
    trackInterfaces: one.trackInterfaces,
  };
}

function trackedBy({ trackScripts, trackServices }: Instance, faults: Faults): Tracked[] {
  const tracked = (what: string, weight: number, fault: string | undefined): Tracked => ({
    ...{ what, weight },
    ...(fault !== undefined && { fault }),
  });
  return [
    ...trackScripts.map(({ name, weight }) => tracked(`script ${name}`, weight, faults.script(name))),
    ...trackServices.map(({ name, weight }) => tracked(`service ${name}`, weight, faults.service(name))),
  ];
}

/** Virtual services that have lost their quorum, by name, with the reason. */
export function lostServices(
  { lost }: Pick<Health, 'lost'>,
  { table, names }: Pick<Wanted, 'table' | 'names'>,
): ReadonlyMap<string, string> {
  const keys = new Set(lost);
  const found = table.services.filter(({ service }) => keys.has(serviceKey(service.id)));
  return new Map(found.map(({ service }) => [names.serviceName(service.id), 'its quorum is lost']));
}
