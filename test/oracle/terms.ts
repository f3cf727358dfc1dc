import type { Address } from '../../src/model/address.ts';
import { normaliseDestination } from '../../src/model/real-server.ts';
import { destinationKey } from '../../src/model/service-id.ts';
import type { Connection } from '../../src/model/table.ts';
import type {
  Destination,
  DestinationId,
  ServiceId,
  VirtualService,
} from '../../src/model/virtual-service.ts';
import { destination, servicePlan } from '../packets/services.ts';
import { firstRealServer, virtualAddresses } from '../packets/world.ts';
import { crews, marked } from './director.ts';
import { type DestinationWish, most, places, type ServiceWish } from './scenario.ts';
import type { Talk } from './talk.ts';

/** What the places and wishes of a scenario are in the run of its number. */
export type Terms = {
  /** Ports of services begin here. */
  readonly base: number;
  idOf(at: number): ServiceId;
  /** Of the destination `to` in the service `at`. */
  placeOf(at: number, to: number): DestinationId;
  destinationOf(at: number, to: number, wish: DestinationWish): Destination;
  serviceOf(at: number, wish: ServiceWish): VirtualService;
  /** A client's first packet is on its way to a service. */
  talkOf(at: number, client: DestinationId, number: number): Talk;
};

/** Ports of services and addresses of real servers go by a scenario's `number`, so that what comes soon after it has others. */
export function termsOf(number: number): Terms {
  const base = 1000 + 16 * (number % 3000);
  const firstOfCrew = firstRealServer + most.destinations * (number % crews);
  return { base, idOf, placeOf, destinationOf, serviceOf, talkOf };

  function virtualOf(at: number): DestinationId {
    const place = places[at]!;
    const anyPort = 'anyPort' in place;
    const name = anyPort ? 'otherIpv4' : place.family === 4 ? 'ipv4' : 'ipv6';
    return { address: virtualAddresses[name] as Address, port: anyPort ? 0 : base + at };
  }

  function idOf(at: number): ServiceId {
    const place = places[at]!;
    if ('mark' in place) return { kind: 'fwmark', mark: place.mark, family: place.family };
    return { kind: 'address', protocol: place.protocol, ...virtualOf(at) };
  }

  function placeOf(at: number, to: number): DestinationId {
    const place = places[at]!;
    const { port } = virtualOf(at);
    const address = ((place.family === 4 ? '10.1.0.' : 'fd10::') + (firstOfCrew + to)) as Address;
    const own = 'mark' in place ? 0 : port;
    return { address, port: 'anyPort' in place ? 0 : to % 2 === 0 ? own : 8000 + to };
  }

  function destinationOf(at: number, to: number, wish: DestinationWish): Destination {
    const { weight, method, tunnel, upper, lower } = wish;
    const limits = { upperThreshold: upper, lowerThreshold: lower };
    const wanted = { ...placeOf(at, to), method, ...(tunnel && { tunnel }), weight, ...limits };
    return normaliseDestination(wanted, idOf(at));
  }

  function serviceOf(at: number, { scheduler, flags, persistence, onePacket }: ServiceWish): VirtualService {
    const place = places[at]!;
    const { seconds, bits } = persistence ?? { seconds: 12, bits: 32 };
    const netmask = place.family === 6 ? (bits === 32 ? 128 : 64) : (-1 << (32 - bits)) >>> 0;
    return {
      id: idOf(at),
      scheduler,
      schedulerFlags: { ...flags, flag3: false },
      ...((persistence || 'anyPort' in place) && { persistence: { timeoutSeconds: seconds, netmask } }),
      onePacket: onePacket && ('mark' in place || place.protocol === 'udp'),
    };
  }

  function talkOf(at: number, client: DestinationId, number: number): Talk {
    const place = places[at]!;
    const { address, port } = virtualOf(at);
    if ('mark' in place) {
      const protocol = 'protocol' in place ? place.protocol : number % 2 === 0 ? 'tcp' : 'udp';
      return { at, client, protocol, virtual: { address, port: marked.first + number } };
    }
    // Every port there is.
    return { at, client, protocol: place.protocol, virtual: { address, port: port || 7000 + number } };
  }
}

/**
 * Without a service of its family IPVS does not see packets: docs/reference/differences-from-ipvs.md. Of a service without
 * destinations it is asked twice whether it is still there.
 */
export const guards = {
  4: servicePlan(`tcp ${virtualAddresses.ipv4}:9`, 'rr', destination('10.1.0.9:9')),
  6: servicePlan(`tcp [${virtualAddresses.ipv6}]:9`, 'rr', destination('[fd10::9]:9')),
};

export const clientAddress = (family: 4 | 6, n: number): Address =>
  (family === 4 ? `203.0.${n >> 1}.${7 + 31 * n}` : `2001:db8:c${n >> 1}::${7 + 31 * n}`) as Address;

export const keyOf = ({ protocol, client, virtual }: Talk | Connection): string =>
  `${protocol} ${destinationKey(client)} ${destinationKey(virtual)}`;
