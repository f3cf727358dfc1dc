import { entriesOf, memberOf, poolsOf, serves, serviceIdsOf, timeoutsOf } from '../config/desired.ts';
import type { AgentSettings } from '../config/schema/agent.ts';
import type { Check } from '../config/schema/check.ts';
import type { Configuration, ServiceConfiguration } from '../config/schema/configuration.ts';
import type { PoolRules } from '../model/pool.ts';
import type { Reactions } from '../model/reaction.ts';
import { destinationOf } from '../model/real-server.ts';
import { destinationKey, lastKeyKept, serviceKey } from '../model/service-id.ts';
import type { Table } from '../model/table.ts';
import type { DestinationId, ServiceId, Timeouts } from '../model/virtual-service.ts';
import { reactionsOf } from './reactions.ts';
import { type Settings, settingsOf } from './settings.ts';

/** What a configuration asks of a data plane. */
export type Wanted = {
  readonly table: Table;
  /** Those that are left out stay as they are. */
  readonly timeouts: Partial<Timeouts>;
  /** Whether services that are not described are deleted. */
  readonly own: boolean;
  readonly names: Names;
  /** Who is checked and who stands in, by serviceKey; absent where nobody knows. */
  readonly pools?: Pools;
  /** What is to be done when something happens; absent where nobody knows. */
  readonly reactions?: Reactions;
  /** What it says beside the table; absent where nobody knows. */
  readonly settings?: Settings;
};

export type Pools = ReadonlyMap<string, PoolRules<Check, AgentSettings>>;

/** What people call services and real servers. */
export type Names = {
  service(id: ServiceId): string;
  /** The same for every address of a service. */
  serviceName(id: ServiceId): string;
  realServer(id: ServiceId, destination: DestinationId): string;
};

/** Names where nobody has given any: what they are in the data plane. */
export const plainNames: Names = {
  service: serviceKey,
  serviceName: serviceKey,
  realServer: (_id, destination) => destinationKey(destination),
};

/** What a configuration asks for. A service with several addresses is as many in the data plane. */
export function wantedOf(configuration: Configuration): Wanted {
  const names = namesOf(configuration);
  return {
    table: { services: configuration.virtualServices.flatMap(entriesOf) },
    timeouts: timeoutsOf(configuration),
    own: configuration.own,
    names,
    reactions: reactionsOf(configuration, names.realServer),
    pools: new Map(configuration.virtualServices.flatMap((service) => [...poolsOf(service)])),
    settings: settingsOf(configuration),
  };
}

function namesOf({ virtualServices }: Configuration): Names {
  const services = new Map<string, string>();
  const bare = new Map<string, string>();
  const described = new Map<string, ServiceConfiguration>();
  const keyOf = lastKeyKept();
  for (const service of virtualServices) {
    const ids = serviceIdsOf(service);
    for (const id of ids) {
      const key = serviceKey(id);
      bare.set(key, service.name);
      services.set(key, ids.length === 1 ? service.name : `${service.name} (${key})`);
      described.set(key, service);
    }
  }
  /** Names of a service's real servers, made when somebody asks. */
  const realServers = new Map<string, ReadonlyMap<string, string>>();
  const namesIn = (id: ServiceId) => {
    const key = keyOf(id);
    const found = realServers.get(key);
    if (found) return found;
    const service = described.get(key);
    const names: ReadonlyMap<string, string> = service ? realServerNames(service, id) : new Map();
    realServers.set(key, names);
    return names;
  };
  return {
    service: (id) => services.get(keyOf(id)) ?? keyOf(id),
    serviceName: (id) => bare.get(keyOf(id)) ?? keyOf(id),
    realServer: (id, destination) =>
      namesIn(id).get(destinationKey(destination)) ?? destinationKey(destination),
  };
}

function realServerNames(service: ServiceConfiguration, id: ServiceId): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const realServer of service.realServers) {
    if (realServer.name === undefined || !serves(realServer, service, id)) continue;
    names.set(destinationKey(destinationOf(memberOf(realServer, service), id)), realServer.name);
  }
  return names;
}
