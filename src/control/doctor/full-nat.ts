import type { Address } from '../../model/address.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Destination, VirtualService } from '../../model/virtual-service.ts';
import { alone, contains, type Finding, holderOf, type Scene, virtualAddresses } from './finding.ts';

/** What keeps answers to full NAT's local addresses from coming back to this director, or from being told apart. */
export function fullNatFindings(scene: Scene): Finding[] {
  if (!scene.host.plane) return [];
  const all = scene.observed.services.flatMap(({ service, destinations }) =>
    destinations.flatMap(({ destination }) => (destination.fullNat ? [{ service, destination }] : [])),
  );
  if (all.length === 0) return [];
  return [
    ...portFindings(scene),
    ...all.flatMap(({ service, destination }) =>
      destination.fullNat!.localAddresses.flatMap((local) => findingsOf(scene, service, destination, local)),
    ),
  ];
}

function findingsOf(
  scene: Scene,
  { id }: VirtualService,
  destination: Destination,
  local: Address,
): Finding[] {
  const { host } = scene;
  const path = host.paths.get(destination.address);
  // A real server on the director itself is masqueraded to.
  if (path?.kind === 'local') return [];
  const server = `${destinationKey(destination)} of ${serviceKey(id)}`;
  const device = path?.kind === 'neighbour' ? path.device : undefined;
  if (host.paths.get(local)?.kind !== 'local')
    return [
      {
        id: 'local-address-missing',
        severity: destination.weight > 0 ? 'broken' : 'note',
        what: `the local address ${local} of full NAT for ${server} is on no interface of this host`,
        why: 'the real server answers to it, and answers do not come here; on a standby director that takes it over this is as it should be',
        fix: `ip address add ${alone(local)} dev ${device ?? 'lo'}`,
      },
    ];
  return [
    ...(virtualAddresses(scene).includes(local)
      ? [
          {
            id: 'local-address-virtual',
            severity: 'note',
            what: `the local address ${local} of full NAT for ${server} is a virtual address`,
            why: 'it moves with its services, and its connections end then where the other director was not told of them',
            next: 'between directors give failover.connectionSync a key: docs/full-nat.md, "With failover"',
          } satisfies Finding,
        ]
      : []),
    ...networkFindings(scene, destination, local, server),
  ];
}

/** A real server that shares a network with this host answers other addresses by its gateway. */
function networkFindings(
  { host }: Scene,
  { address }: Destination,
  local: Address,
  server: string,
): Finding[] {
  const path = host.paths.get(address);
  if (path?.kind !== 'neighbour' || path.via !== address) return [];
  const networks = host.interfaces
    .filter(({ name }) => name === path.device)
    .flatMap(({ addresses }) => addresses.filter((one) => contains(one, address)));
  if (networks.length === 0 || networks.some((network) => contains(network, local))) return [];
  return [
    {
      id: 'local-address-network',
      severity: 'risky',
      what: `the real server ${server} is on the network of ${path.device}, and its local address ${local}, ${holderOf(host, local)?.name ?? 'here'}, is not`,
      why: 'it answers by a gateway, which must have a way back to this director',
      next: `on the real server: ip route get ${local}; or without --local-addresses, when it is ${networks[0]!.address}`,
    },
  ];
}

function portFindings({ host }: Scene): Finding[] {
  const { localPorts } = host.plane ?? {};
  const [low, high] = (host.parameters['net.ipv4.ip_local_port_range'] ?? '').split(/\s+/).map(Number);
  if (!localPorts || low === undefined || high === undefined) return [];
  const last = localPorts.first + localPorts.count - 1;
  if (high < localPorts.first || low > last) return [];
  return [
    {
      id: 'local-ports-shared',
      severity: 'risky',
      what: `full NAT takes the ports ${localPorts.first} to ${last}, and the kernel's own connections those from ${low} to ${high}`,
      why: "a health check's connection can get the port of a client's: net.ipv4.ip_local_port_range was changed since",
      next: 'headgate ipvsadm -e of a real server with full NAT takes the ports that are left now; connections end their time with those they have',
    },
  ];
}
