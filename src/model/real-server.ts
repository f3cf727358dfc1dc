import type { Address } from './address.ts';
import {
  type Destination,
  type ForwardingMethod,
  type FullNat,
  type ServiceId,
  type Tunnel,
  translates,
} from './virtual-service.ts';

/** A server behind a virtual service as a configuration names it; what is left out has ipvsadm's default. */
export type RealServer = {
  readonly address: Address;
  /** Left out: the port of the virtual service. */
  readonly port?: number;
  /** Left out: direct-routing. */
  readonly method?: ForwardingMethod;
  /** Left out: 1. */
  readonly weight?: number;
  /** Left out: 0, never overloaded. */
  readonly upperThreshold?: number;
  /** Left out: 0, three quarters of the upper threshold. */
  readonly lowerThreshold?: number;
  /** Left out with method `tunnel`: ipip. */
  readonly tunnel?: Tunnel;
  /** Left out with method `full-nat`: the route's address, the client hidden. */
  readonly fullNat?: FullNat;
};

const ipip: Tunnel = { type: 'ipip', port: 0, checksum: 'none' };
const plainFullNat: FullNat = { localAddresses: [], clientAddress: 'hidden' };

/** The entry of a real server in a data plane, as member of this virtual service. */
export function destinationOf(realServer: RealServer, service: ServiceId): Destination {
  return normaliseDestination(
    {
      address: realServer.address,
      port: realServer.port ?? (service.kind === 'address' ? service.port : 0),
      method: realServer.method ?? 'direct-routing',
      weight: realServer.weight ?? 1,
      upperThreshold: realServer.upperThreshold ?? 0,
      lowerThreshold: realServer.lowerThreshold ?? 0,
      ...(realServer.tunnel && { tunnel: realServer.tunnel }),
      ...(realServer.fullNat && { fullNat: realServer.fullNat }),
    },
    service,
  );
}

/**
 * What ipvsadm and every layer above the kernel make of a destination before they hand it over: direct routing and
 * tunnels cannot translate ports, so behind a service with an address they have its port (ipvsadm 1.31, ipvsadm.c);
 * a tunnel without settings is ipip, and other methods have none. The kernel itself takes any port. Full NAT without
 * settings takes the route's address and hides the client.
 */
export function normaliseDestination(destination: Destination, service: ServiceId): Destination {
  const { tunnel, fullNat, ...rest } = destination;
  const keepsPort = translates(destination.method) || service.kind === 'fwmark';
  const isPlain = destination.method !== 'tunnel' && destination.method !== 'full-nat';
  if (keepsPort && isPlain && tunnel === undefined && fullNat === undefined) return destination;
  return {
    ...rest,
    port: keepsPort ? destination.port : service.port,
    ...(destination.method === 'tunnel' && { tunnel: tunnel ?? ipip }),
    ...(destination.method === 'full-nat' && { fullNat: fullNat ?? plainFullNat }),
  };
}
