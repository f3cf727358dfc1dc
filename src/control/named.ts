import { HeadgateError } from '../model/errors.ts';
import { destinationKey } from '../model/service-id.ts';
import { suggest } from '../model/suggest.ts';
import type { Connection } from '../model/table.ts';
import type { DestinationId } from '../model/virtual-service.ts';

/** A service with its real servers, by name and by what they are in the data plane. */
export type Named = {
  readonly name: string;
  readonly address: string;
  readonly realServers: readonly { readonly name: string; readonly address: string }[];
};

/** The services of this name or address; one name may stand for several addresses. Throws HG_UNKNOWN_NAME. */
export function namedServices<S extends Named>(services: readonly S[], wanted: string): readonly S[] {
  const found = services.filter((one) => isCalled(one, wanted));
  if (found.length > 0) return found;
  throw unknown(
    `Cannot find "${wanted}": there is no virtual service of this name or address`,
    ownerOfRealServer(services, wanted) ?? suggest(wanted, services.flatMap(wordsFor)),
    'headgate get services',
  );
}

/**
 * What SERVICE or SERVICE/REALSERVER stands for: services, or with a real server's place in its list. Throws
 * HG_UNKNOWN_NAME.
 */
export function namedObjects<S extends Named>(
  services: readonly S[],
  wanted: string,
): readonly { readonly service: S; readonly realServer?: number }[] {
  const slash = wanted.indexOf('/');
  if (slash < 0 || services.some((one) => isCalled(one, wanted)))
    return namedServices(services, wanted).map((service) => ({ service }));
  const [first, second] = [wanted.slice(0, slash), wanted.slice(slash + 1)];
  const owners = namedServices(services, first);
  const found = owners.flatMap((service) => {
    const realServer = service.realServers.findIndex(
      ({ name, address }) => name === second || address === second,
    );
    return realServer < 0 ? [] : [{ service, realServer }];
  });
  if (found.length > 0) return found;
  const near = suggest(
    second,
    owners.flatMap(({ realServers }) => realServers.flatMap(({ name, address }) => [name, address])),
  );
  throw unknown(
    `Cannot find "${wanted}": ${first} has no real server "${second}"`,
    near === undefined ? undefined : `${first}/${near}`,
    `headgate get real-servers ${first}`,
  );
}

/** `web` is also `web (tcp 192.0.2.10:80)`, and an address needs no protocol, or has it behind as in a configuration. */
function isCalled({ name, address }: Named, wanted: string): boolean {
  return (
    name === wanted ||
    name.startsWith(`${wanted} (`) ||
    address === wanted ||
    address.endsWith(` ${wanted}`) ||
    address === wanted.replace(/^(.+)\/(tcp|udp|sctp)$/, '$2 $1')
  );
}

const wordsFor = ({ name, address }: Named): string[] => [
  name.replace(/ \(.*/, ''),
  address.replace(/^[a-z]+ /, ''),
];

/** SERVICE/REALSERVER for the name of a real server alone. */
function ownerOfRealServer(services: readonly Named[], wanted: string): string | undefined {
  const owner = services.find(({ realServers }) =>
    realServers.some(({ name, address }) => name === wanted || address === wanted),
  );
  return owner && `${owner.name}/${wanted}`;
}

function unknown(sentence: string, near: string | undefined, list: string): HeadgateError {
  const hint = near === undefined ? list : `did you mean "${near}"? ${list}`;
  return new HeadgateError('HG_UNKNOWN_NAME', sentence, { hint });
}

/** Whose a connection is: its service, and the place of its real server, absent where that is gone from the list. */
export type OwnerOf<S extends Named> = (
  row: Connection,
) => { readonly service: S; readonly realServer?: number } | undefined;

/**
 * Finds the service with a connection's virtual address and port, else the one for every port, else one by mark that has
 * the real server: the mark of a connection is not known.
 */
export function ownersAmong<S extends Named>(services: readonly S[]): OwnerOf<S> {
  const byAddress = new Map(services.map((one) => [one.address, one]));
  const byMark = services.filter(({ address }) => address.startsWith('fwmark '));
  const places = new Map(
    services.map((one) => [one, new Map(one.realServers.map(({ address }, i) => [address, i]))]),
  );
  /** A real server for every port takes connections of any. */
  const placeIn = (service: S, destination: DestinationId) =>
    places.get(service)!.get(destinationKey(destination)) ??
    places.get(service)!.get(destinationKey({ ...destination, port: 0 }));
  return ({ protocol, virtual, destination }) => {
    const service =
      byAddress.get(`${protocol} ${destinationKey(virtual)}`) ??
      byAddress.get(`${protocol} ${destinationKey({ ...virtual, port: 0 })}`) ??
      byMark.find((one) => placeIn(one, destination) !== undefined);
    if (!service) return undefined;
    const realServer = placeIn(service, destination);
    return { service, ...(realServer !== undefined && { realServer }) };
  };
}
