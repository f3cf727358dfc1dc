import { memberOf, serves, serviceIdsOf } from '../config/desired.ts';
import type { Configuration, ServiceConfiguration } from '../config/schema/configuration.ts';
import type { Reactions, RealServerHooks, ServiceHooks } from '../model/reaction.ts';
import { destinationOf } from '../model/real-server.ts';
import type { DestinationId, ServiceId } from '../model/virtual-service.ts';

/** What events call a real server. */
type NameOf = (service: ServiceId, destination: DestinationId) => string;

/** What a configuration wants to be done when something happens. */
export function reactionsOf({ alerts, virtualServices }: Configuration, nameOf: NameOf): Reactions {
  const { mail = [], webhook = [], command = [] } = alerts ?? {};
  return {
    alerts: { mail, webhook, command },
    services: new Map(virtualServices.map((service) => [service.name, hooksOf(service, nameOf)])),
  };
}

function hooksOf(service: ServiceConfiguration, nameOf: NameOf): ServiceHooks {
  const { onQuorumUp, onQuorumDown } = service;
  const realServers = new Map<string, RealServerHooks>();
  for (const id of serviceIdsOf(service))
    for (const realServer of service.realServers) {
      if (!serves(realServer, service, id)) continue;
      const { onUp, onDown } = realServer;
      const name = nameOf(id, destinationOf(memberOf(realServer, service), id));
      realServers.set(name, { onUp, onDown });
    }
  return { onQuorumUp, onQuorumDown, realServers };
}
