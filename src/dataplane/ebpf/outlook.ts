import type { Address } from '../../model/address.ts';
import type { Outlook, Path } from '../../model/outlook.ts';
import { findLink, type Link } from '../../sys/netlink/link.ts';
import { listNeighbours, type Neighbour } from '../../sys/netlink/neighbour.ts';
import { lookupRoutes, type Route } from '../../sys/netlink/route.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import type { ListedService } from './listing.ts';
import type { TableMaps } from './table-maps.ts';

const loopbackMtu = 65536;

/** Where the kernel would send packets to these addresses: routes, neighbours and links of this network namespace. */
export function pathsTo(addresses: readonly Address[]): Map<Address, Path> {
  return withNetlink({}, (netlink) => {
    const neighbours = new Map(listNeighbours(netlink).map((one) => [neighbourKey(one), one]));
    const links = new Map<number, Link | undefined>();
    const linkOf = (index: number) => {
      if (!links.has(index)) links.set(index, findLink(netlink, index));
      return links.get(index);
    };
    const routes = lookupRoutes(netlink, addresses);
    return new Map(
      addresses.map((address, i) => [address, pathBy(routes[i], neighbours, linkOf, address)] as const),
    );
  });
}

const neighbourKey = ({ index, address }: Pick<Neighbour, 'index' | 'address'>): string =>
  `${index} ${address}`;

function pathBy(
  route: Route | undefined,
  neighbours: ReadonlyMap<string, Neighbour>,
  linkOf: (index: number) => Link | undefined,
  address: Address,
): Path {
  if (route?.type === 'local') return { kind: 'local' };
  const link = route?.index === undefined ? undefined : linkOf(route.index);
  if (route?.type !== 'unicast' || !link) return { kind: 'none' };
  const via = (route.gateway ?? address) as Address;
  const neighbour = neighbours.get(neighbourKey({ index: link.index, address: via }));
  return {
    kind: 'neighbour',
    device: link.name,
    via,
    ...(neighbour?.mac === undefined ? {} : { mac: neighbour.mac }),
    silent:
      neighbour?.state === 'failed' || (neighbour?.state === 'incomplete' && neighbour.mac === undefined),
    mtu: link.mtu ?? loopbackMtu,
  };
}

/** What schedulers remember of a service: turns of rr and wrr, weights of mh. */
export function memoryOf(
  { services, destinations }: TableMaps,
  entry: ListedService,
): Omit<Outlook, 'paths'> {
  const { scheduler } = entry.service;
  const listed = [...entry.destinations.values()];
  if (scheduler === 'mh')
    return { lastWeights: listed.map(({ slot }) => destinations.get(slot, 'last_weight')) };
  if (scheduler !== 'rr' && scheduler !== 'wrr') return {};
  const word = services.getBig(entry.slot, 'turn');
  const last = listed.reverse().findIndex(({ slot }) => slot === Number(word & 0xffffffffn));
  return { turn: { last, rung: Number(word >> 32n) } };
}
