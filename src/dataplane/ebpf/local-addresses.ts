import type { Address } from '../../model/address.ts';
import type { Refusal } from '../../model/table.ts';
import type { Destination } from '../../model/virtual-service.ts';
import type { MapHandle } from '../../sys/bpf/map.ts';
import { lookupRoute } from '../../sys/netlink/route.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import { readSysctl } from '../../sys/sysctl.ts';
import { decodeAddress, encodeAddress } from './encoding.ts';
import { numbers, records } from './layout.generated.ts';
import type { Records } from './records.ts';
import { tunnelSource } from './tunnel-source.ts';

const { FULL_NAT_TCP_OPTION, FULL_NAT_HERE, FULL_NAT_GIVEN } = numbers.full_nat;
const placesOfDestination = records.destination.fields.local.count;
/** What comes in below is for servers (RFC 6335, 6: system ports). */
const leastPort = 1024;
const mostPort = 65_535;

/** What the maps say of full NAT. */
export type LocalMaps = {
  readonly destinations: Records<'destination'>;
  readonly settings: Records<'settings'>;
  readonly localAddresses: MapHandle;
};

/** What a destination's record is to say of full NAT: enum full_nat, and places in the map of local addresses. */
export type LocalEnds = { readonly word: number; readonly places: readonly number[] };

/**
 * Finds the director's addresses for a destination, and ports they may use. A real server without a route has none until it
 * is looked for again. Refused: what the program cannot do, and a host whose ports are all the kernel's own.
 */
export function findLocalEnds(maps: LocalMaps, destination: Destination): LocalEnds | Refusal {
  const { fullNat, address } = destination;
  if (!fullNat) return { word: 0, places: [] };
  if (fullNat.clientAddress === 'proxy-protocol') {
    const detail =
      'the ebpf data plane puts nothing before the first byte: wanted clientAddress tcp-option or hidden';
    return { reason: 'invalid', detail };
  }
  const ports = portsFor(readSysctl('net.ipv4.ip_local_port_range') ?? '');
  if (!ports) {
    const detail =
      'net.ipv4.ip_local_port_range gives the kernel’s own connections every port, so that none is left for full NAT';
    return { reason: 'invalid', detail };
  }
  maps.settings.set(0, 'local_port_first', ports.first);
  maps.settings.set(0, 'local_ports', ports.count);
  const isHere = withNetlink({}, (netlink) => lookupRoute(netlink, address)?.type === 'local');
  const given = fullNat.localAddresses;
  const source = given.length > 0 || isHere ? undefined : tunnelSource(address);
  const places: number[] = [];
  for (const local of source === undefined ? given : [source]) {
    const place = placeOf(maps.localAddresses, local);
    if (place === undefined)
      return {
        reason: 'table-full',
        detail: `there is room for ${maps.localAddresses.maxEntries - 1} local addresses`,
      };
    places.push(place);
  }
  const word =
    (fullNat.clientAddress === 'tcp-option' ? FULL_NAT_TCP_OPTION : 0) |
    (isHere ? FULL_NAT_HERE : 0) |
    (given.length > 0 ? FULL_NAT_GIVEN : 0);
  return { word, places };
}

/** Writes it, before the destination's method. */
export function writeLocalEnds({ destinations }: LocalMaps, slot: number, { word, places }: LocalEnds): void {
  for (let i = 0; i < placesOfDestination; i++)
    destinations.set(slot, 'local', places[i % Math.max(1, places.length)] ?? 0, i);
  destinations.set(slot, 'full_nat', word);
}

/** The local addresses that a destination was given. */
export function readLocalAddresses({ destinations, localAddresses }: LocalMaps, slot: number): Address[] {
  if (!(destinations.get(slot, 'full_nat') & FULL_NAT_GIVEN)) return [];
  const family = destinations.get(slot, 'family');
  const places = Array.from({ length: placesOfDestination }, (_, i) => destinations.get(slot, 'local', i));
  return [...new Set(places)].map((place) => decodeAddress(localAddresses.lookup(place)!, family));
}

/** The longer of the two spans that the kernel's own connections leave; undefined where there is none. */
export function portsFor(range: string): { readonly first: number; readonly count: number } | undefined {
  const [low = leastPort, high = mostPort] = range.trim().split(/\s+/).map(Number);
  const below = { first: leastPort, count: low - leastPort };
  const above = { first: Math.max(leastPort, high + 1), count: mostPort - Math.max(leastPort - 1, high) };
  const longer = below.count >= above.count ? below : above;
  return longer.count > 0 ? longer : undefined;
}

/** The place of an address, a new one where it has none; undefined when all are taken. What stands in a place stays. */
function placeOf(map: MapHandle, address: Address): number | undefined {
  const wanted = Buffer.from(encodeAddress(address));
  for (let place = 1; place < map.maxEntries; place++) {
    const found = map.lookup(place)!;
    if (found.equals(wanted)) return place;
    if (!found.some((byte) => byte !== 0)) {
      map.update(place, wanted);
      return place;
    }
  }
  return undefined;
}
