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
    isDescribed: described(virtualServices, nameOf),
  };
}

/** Names are made when somebody asks for one: there may be thousands, of which nobody is told. */
function described(
  services: readonly ServiceConfiguration[],
  nameOf: NameOf,
): (service: string, realServer: string) => boolean {
  const known = new Map<string, ReadonlySet<string>>();
  return (name, realServer) => {
    const service = services.find((one) => one.name === name);
    if (!service) return false;
    const names = known.get(name) ?? new Set(namesIn(service, nameOf));
    known.set(name, names);
    return names.has(realServer);
  };
}

function namesIn(service: ServiceConfiguration, nameOf: NameOf): string[] {
  return serviceIdsOf(service).flatMap((id) =>
    service.realServers
      .filter((realServer) => serves(realServer, service, id))
      .map((realServer) => nameOf(id, destinationOf(memberOf(realServer, service), id))),
  );
}

function hooksOf(service: ServiceConfiguration, nameOf: NameOf): ServiceHooks {
  const { checkLog, downOnStop, onQuorumUp, onQuorumDown } = service;
  const realServers = new Map<string, RealServerHooks>();
  for (const id of serviceIdsOf(service))
    for (const realServer of service.realServers) {
      const { onUp, onDown } = realServer;
      if ((onUp === undefined && onDown === undefined) || !serves(realServer, service, id)) continue;
      const name = nameOf(id, destinationOf(memberOf(realServer, service), id));
      realServers.set(name, { onUp, onDown });
    }
  return { checkLog, downOnStop, onQuorumUp, onQuorumDown, realServers };
}
