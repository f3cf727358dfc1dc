import type { FromFile } from '../control/load-wanted.ts';
import type { Wanted } from '../control/wanted.ts';
import { familyOfRoute, noPaths, type Paths } from '../ha/paths.ts';
import type { InstanceSettings, LeaseMaps, Orders, RefusingAddress } from '../ha/settings.ts';
import { familyOf } from '../model/address.ts';
import type { Health } from '../model/health.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Table } from '../model/table.ts';
import type { Tracked } from '../model/vrrp.ts';
import { trackedFile } from '../model/vrrp-tracking.ts';

export type FailoverWanted = NonNullable<FromFile['failover']>;
type Instance = FailoverWanted['vrrp'][number];

/** keepalived's: what a master does where nobody says more (RFC 5227 asks for two announcements or more). */
const announceDefaults = { repeat: 5, delay: 5000, refresh: 0 };
/** RFC 9568, 6.1: three advertisements and the skew. */
const downAfter = 3;

/** Why a script, a virtual service or processes are not well, by name; undefined where they are. And numbers in files. */
export type Faults = {
  script(name: string): string | undefined;
  service(name: string): string | undefined;
  process(name: string): string | undefined;
  number(file: string): number;
};

/** What the failover process is told. Pure. */
export function ordersOf(
  { vrrp, groups, always }: FailoverWanted,
  faults: Faults,
  leases: LeaseMaps | undefined,
  table: Table,
  awaits: boolean,
): Orders {
  const refusing = refusingOf(vrrp, table);
  return {
    ...(refusing.length > 0 && { refusing }),
    ...(leases && { leases }),
    ...(awaits && { awaits: 'connections' }),
    instances: vrrp.map(settingsOf),
    tracking: Object.fromEntries(
      vrrp.map((one) => [one.name, { priority: one.priority, tracked: trackedBy(one, faults) }]),
    ),
    groups: Object.fromEntries(groups.map(({ name, instances }) => [name, instances])),
    always: alwaysOf(always),
  };
}

function settingsOf(one: Instance): InstanceSettings {
  const { name, interface: device, routerId, advertisementInterval, preempt, preemptDelay } = one;
  return {
    ...{ name, interface: device, routerId, advertisementInterval, preempt, preemptDelay, downAfter },
    version: one.version === 2 ? 2 : 3,
    ...(one.source !== undefined && { source: one.source }),
    ...{ peers: one.peers, addresses: one.addresses, excludedAddresses: one.excludedAddresses },
    paths: pathsOf(one, familyOf(one.addresses[0]!.address), device),
    rival: one.rival,
    ...(one.virtualMac && { virtualMac: one.advertiseFromInterface ? 'addresses' : 'all' }),
    authentication: one.authentication ?? { type: 'none', secret: '' },
    announce: one.announce ?? announceDefaults,
    trackInterfaces: one.trackInterfaces.map(({ name: what, weight, reverse }) => ({
      ...{ name: what, weight },
      ...(reverse && { reverse }),
    })),
  };
}

const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;

/** RFC 9568, 6.1: who owns the addresses takes what is sent to them in any case. */
function refusingOf(vrrp: readonly Instance[], { services }: Table): RefusingAddress[] {
  const ids = services.map(({ service }) => service.id);
  const marks = ids.flatMap((id) => (id.kind === 'fwmark' ? [id.mark] : []));
  return vrrp
    .filter(({ accept, priority }) => !accept && priority !== 255)
    .flatMap(({ addresses, excludedAddresses }) => [...addresses, ...excludedAddresses])
    .map(({ address }) => ({
      address,
      served: ids.flatMap((id) =>
        id.kind === 'address' && id.address === address
          ? [{ protocol: protocols[id.protocol], port: id.port }]
          : [],
      ),
      marks: [...new Set(marks)],
    }));
}

function alwaysOf(always: FailoverWanted['always']): Paths {
  if (!always) return noPaths;
  const addresses = always.addresses.map(({ address, interface: device }) => ({
    ...address,
    interface: device,
  }));
  return { ...pathsOf(always, 4), addresses };
}

/** Routes without anything that says where they leave go by `device`. */
function pathsOf(
  { routes, rules }: Pick<Instance, 'routes' | 'rules'>,
  family: 4 | 6,
  device?: string,
): Paths {
  return {
    routes: routes.map((route) => {
      const { to, via, source, table, metric, type, mtu, onLink } = route;
      const by = route.interface ?? (via === undefined && type === 'unicast' ? device : undefined);
      return {
        ...{ to, table, type, onLink },
        family: familyOfRoute({ to, ...(via && { via }), ...(source && { source }) }, family),
        ...(via !== undefined && { via }),
        ...(by !== undefined && { interface: by }),
        ...(source !== undefined && { source }),
        ...(metric !== undefined && { metric }),
        ...(mtu !== undefined && { mtu }),
      };
    }),
    rules: rules.map((rule) => {
      const { from, to, mark, markMask, table, priority, family: said } = rule;
      const one = from ?? to;
      return {
        ...{ table, priority },
        family: one ? familyOf(one.address) : said === 'ipv6' ? 6 : 4,
        ...(from && { from }),
        ...(to && { to }),
        ...(mark !== undefined && { mark }),
        ...(markMask !== undefined && { maskOfMark: markMask }),
        ...(rule.interface !== undefined && { inInterface: rule.interface }),
      };
    }),
  };
}

type WeightedName = { readonly name: string; readonly weight: number; readonly reverse: boolean };

function trackedBy(one: Instance, faults: Faults): Tracked[] {
  const tracked =
    (what: string, faultOf: (name: string) => string | undefined) =>
    ({ name, weight, reverse }: WeightedName): Tracked => {
      const fault = faultOf(name);
      return {
        ...{ what: `${what} ${name}`, weight },
        ...(fault !== undefined && { fault }),
        ...(reverse && { reverse }),
      };
    };
  return [
    ...one.trackScripts.map(tracked('script', (name) => faults.script(name))),
    ...one.trackServices.map(tracked('service', (name) => faults.service(name))),
    ...one.trackProcesses.map(tracked('processes', (name) => faults.process(name))),
    ...one.trackFiles.flatMap(({ name, weight, reverse }) =>
      trackedFile(name, { weight, reverse, value: faults.number(name) }),
    ),
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
