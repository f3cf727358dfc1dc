import { familyOf, maskOf } from '../model/address.ts';
import type { PoolRules } from '../model/pool.ts';
import { destinationOf, type RealServer } from '../model/real-server.ts';
import { destinationKey, serviceFamily, serviceKey } from '../model/service-id.ts';
import type { ServiceEntry, Table } from '../model/table.ts';
import type { Persistence, SchedulerFlags, ServiceId, Timeouts, Tunnel } from '../model/virtual-service.ts';
import { withWhenGone } from '../model/when-gone.ts';
import type { AgentSettings } from './schema/agent.ts';
import type { Check } from './schema/check.ts';
import type { Configuration, RealServerConfiguration, ServiceConfiguration } from './schema/configuration.ts';

/** The table a configuration wants: every real server in its place, as if all were usable. */
export function toDesired({ virtualServices }: Pick<Configuration, 'virtualServices'>): Table {
  return { services: virtualServices.flatMap(entriesOf) };
}

/** The timeouts a configuration sets, seconds; those that are left out stay as they are. */
export function timeoutsOf({ timeouts }: Pick<Configuration, 'timeouts'>): Partial<Timeouts> {
  return Object.fromEntries(Object.entries(timeouts ?? {}).filter(([, value]) => value !== undefined));
}

const known = new WeakMap<ServiceConfiguration, readonly ServiceEntry[]>();

/**
 * A virtual service of a configuration as the data plane has it: an entry for each of its addresses or families. The same
 * service gives the same entries.
 */
export function entriesOf(service: ServiceConfiguration): readonly ServiceEntry[] {
  const entries = known.get(service) ?? makeEntries(service);
  known.set(service, entries);
  return entries;
}

function makeEntries(service: ServiceConfiguration): ServiceEntry[] {
  const ids = serviceIdsOf(service);
  return ids.map((id) => ({
    service: withWhenGone(
      {
        id,
        scheduler: service.scheduler,
        schedulerFlags: flagsOf(service),
        onePacket: service.onePacket,
        ...(service.persistence && { persistence: persistenceOf(service.persistence, id) }),
      },
      service.whenGone,
    ),
    destinations: service.realServers
      .filter((realServer) => serves(realServer, service, id))
      .map((realServer) => destinationOf(memberOf(realServer, service), id)),
  }));
}

const knownPools = new WeakMap<ServiceConfiguration, ReadonlyMap<string, PoolRules<Check, AgentSettings>>>();

/** Who is checked and who stands in, by the serviceKey of each address of a service. The same service gives the same rules. */
export function poolsOf(service: ServiceConfiguration): ReadonlyMap<string, PoolRules<Check, AgentSettings>> {
  const pools =
    knownPools.get(service) ??
    new Map(serviceIdsOf(service).map((id) => [serviceKey(id), poolOf(service, id)]));
  knownPools.set(service, pools);
  return pools;
}

function poolOf(service: ServiceConfiguration, id: ServiceId): PoolRules<Check, AgentSettings> {
  const { quorum, hysteresis, sorryServer } = service;
  const checks = service.realServers.flatMap((realServer) => {
    const own = realServer.check ?? service.check;
    if (own === undefined || own === 'none' || !serves(realServer, service, id)) return [];
    return [[destinationKey(destinationOf(memberOf(realServer, service), id)), own] as const];
  });
  const agents = service.realServers.flatMap((realServer) => {
    const own = realServer.agent ?? service.agent;
    if (own === undefined || own === 'none' || !serves(realServer, service, id)) return [];
    return [[destinationKey(destinationOf(memberOf(realServer, service), id)), own] as const];
  });
  return {
    ...{ quorum, hysteresis, checks: new Map(checks) },
    ...(agents.length > 0 && { agents: new Map(agents) }),
    ...(sorryServer &&
      serves(sorryServer, service, id) && { sorryServer: destinationOf(memberOf(sorryServer, service), id) }),
  };
}

/** What a virtual service is called in a data plane, one name for each of its addresses or families. */
export function serviceIdsOf(
  service: Pick<ServiceConfiguration, 'address' | 'fwmark' | 'family'>,
): ServiceId[] {
  const { fwmark, family, address } = service;
  if (fwmark === undefined) return (address ?? []).map((one) => ({ kind: 'address', ...one }));
  const families =
    family === 'both' ? ([4, 6] as const) : family === 'ipv4' ? ([4] as const) : ([6] as const);
  return families.map((one) => ({ kind: 'fwmark', mark: fwmark, family: one }));
}

/**
 * Whether a real server serves this address of a service: those of its family, and as a tunnel may cross families, all
 * of them where none is of its family.
 */
export function serves(
  realServer: Pick<RealServerConfiguration, 'address' | 'method'>,
  service: ServiceConfiguration,
  id: ServiceId,
): boolean {
  const family = familyOf(realServer.address.address);
  if (serviceFamily(id) === family) return true;
  const method = realServer.method ?? service.method;
  return method === 'tunnel' && serviceIdsOf(service).every((one) => serviceFamily(one) !== family);
}

/** A real server, or the sorry server, of a service in the words of the model. */
export function memberOf(
  member: Pick<RealServerConfiguration, 'address' | 'method' | 'tunnel' | 'fullNat'> &
    Partial<Pick<RealServerConfiguration, 'weight' | 'upperThreshold' | 'lowerThreshold'>>,
  service: ServiceConfiguration,
): RealServer {
  const method = member.method ?? service.method;
  const tunnel = member.tunnel ?? service.tunnel;
  const fullNat = member.fullNat ?? service.fullNat;
  return {
    address: member.address.address,
    method,
    weight: member.weight ?? 1,
    upperThreshold: member.upperThreshold ?? 0,
    lowerThreshold: member.lowerThreshold ?? 0,
    ...(member.address.port !== undefined && { port: member.address.port }),
    ...(method === 'tunnel' && tunnel && { tunnel: tunnelOf(tunnel) }),
    ...(method === 'full-nat' && fullNat && { fullNat }),
  };
}

function tunnelOf({ type, port, checksum }: NonNullable<ServiceConfiguration['tunnel']>): Tunnel {
  return { type, port: port ?? 0, checksum };
}

function flagsOf({ schedulerFlags }: ServiceConfiguration): SchedulerFlags {
  const has = (...names: typeof schedulerFlags) => names.some((name) => schedulerFlags.includes(name));
  return { flag1: has('flag-1', 'fallback'), flag2: has('flag-2', 'port'), flag3: has('flag-3') };
}

function persistenceOf(
  { timeout, netmask, netmask6, engine }: NonNullable<ServiceConfiguration['persistence']>,
  id: ServiceId,
): Persistence {
  return {
    timeoutSeconds: timeout,
    netmask: serviceFamily(id) === 4 ? maskOf(netmask) : netmask6,
    ...(engine !== undefined && { engine }),
  };
}
