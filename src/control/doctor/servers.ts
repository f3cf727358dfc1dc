import { fullNatWords } from '../../config/ipvsadm/full-nat-words.ts';
import type { Address } from '../../model/address.ts';
import type { Path } from '../../model/outlook.ts';
import { decisionOn, decisionText, readyCommand } from '../../model/override.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { ServiceState } from '../../model/table.ts';
import type { AddressServiceId, Destination } from '../../model/virtual-service.ts';
import { roomFor } from '../problems.ts';
import { addressServices, contains, type Finding, frontOf, type Scene } from './finding.ts';

/** What keeps packets from reaching the real servers, or answers from coming back. */
export function serverFindings(scene: Scene): Finding[] {
  return [
    ...scene.observed.services.flatMap((state) => serviceFindings(scene, state)),
    ...addressServices(scene).flatMap(({ service, destinations }) =>
      destinations.flatMap((destination) => pathFindings(scene, service.id, destination)),
    ),
  ];
}

const serviceFlag = { tcp: '-t', udp: '-u', sctp: '--sctp-service' } as const;

/** A service as ipvsadm's options name it. */
const optionsOf = ({ protocol, address, port }: AddressServiceId): string =>
  `${serviceFlag[protocol]} ${destinationKey({ address, port })}`;

function serviceFindings(
  { overrides = [], down = [] }: Scene,
  { service, destinations }: ServiceState,
): Finding[] {
  const key = serviceKey(service.id);
  if (destinations.some(({ destination }) => destination.weight > 0)) return [];
  const options = service.id.kind === 'address' ? optionsOf(service.id) : `-f ${service.id.mark}`;
  const first = destinations[0]?.destination;
  const decisions = destinations.map(({ destination }) => decisionOn(overrides, service.id, destination));
  const decision = decisions.find((one) => one !== undefined);
  const told = decision ? `; ${decision.service}/${decision.realServer} is ${decisionText(decision)}` : '';
  const failed = new Set(
    down.filter((one) => serviceKey(one.service) === key).map((one) => destinationKey(one.destination)),
  );
  // What checks took out comes back when it is well: to put it in by hand is no cure.
  if (!decision && failed.size > 0)
    return [
      {
        id: 'service-empty',
        severity: 'broken',
        what: `${key} has no real server that is well: checks find ${failed.size} down`,
        why: 'every new client is turned away with port unreachable',
        next: 'headgate status',
      },
    ];
  return [
    {
      id: 'service-empty',
      severity: 'broken',
      what: first
        ? `all ${destinations.length} real servers of ${key} have weight 0${told}`
        : `${key} has no real server`,
      why: 'every new client is turned away with port unreachable',
      ...(first
        ? { fix: decision ? readyCommand(decision) : editCommand(options, { ...first, weight: 1 }) }
        : { next: `headgate ipvsadm -a ${options} -r SERVER:PORT` }),
    },
  ];
}

const methodFlag = {
  masquerade: '-m',
  'direct-routing': '-g',
  tunnel: '-i',
  'full-nat': '--full-nat',
} as const;

/** The edit that gives a destination these settings. */
function editCommand(options: string, destination: Destination): string {
  const { method, weight, upperThreshold, lowerThreshold, tunnel, fullNat } = destination;
  const words = [
    `headgate ipvsadm -e ${options} -r ${destinationKey(destination)}`,
    methodFlag[method],
    ...(tunnel ? [`--tun-type ${tunnel.type}`] : []),
    `-w ${weight}`,
    ...(upperThreshold > 0 ? [`-x ${upperThreshold}`] : []),
    ...(lowerThreshold > 0 ? [`-y ${lowerThreshold}`] : []),
  ];
  return `${words.join(' ')}${fullNat ? fullNatWords(fullNat) : ''}`;
}

function pathFindings(scene: Scene, id: AddressServiceId, destination: Destination): Finding[] {
  const { address, method, weight } = destination;
  const path = scene.host.paths.get(address);
  const server = destinationKey(destination);
  const severity = weight > 0 ? 'broken' : 'note';
  if (path === undefined || path.kind === 'local') return [];
  if (path.kind === 'none')
    return [
      {
        id: 'server-no-route',
        severity,
        what: `there is no route to the real server ${server}`,
        why: `its share of the clients of ${serviceKey(id)} gets nothing`,
        next: `ip route add ${address} via GATEWAY`,
      },
    ];
  return [
    ...(path.silent ? [silent(path, server, severity)] : []),
    ...(method === 'direct-routing' && path.via !== address
      ? [
          {
            id: 'server-behind-gateway',
            severity,
            what: `direct routing hands packets for the real server ${server} to the gateway ${path.via}`,
            why: 'a router brings packets for the virtual address back here, or drops them',
            fix: editCommand(optionsOf(id), {
              ...destination,
              method: 'tunnel',
              tunnel: { type: 'ipip', port: 0, checksum: 'none' },
            }),
            next: `and on the real server: headgate agent up --vip ${id.address} --method tunnel`,
          } satisfies Finding,
        ]
      : []),
    ...sizeFindings(scene, id, destination, path),
    ...(method === 'masquerade' ? sameNetwork(scene, id, destination, path) : []),
  ];
}

type Way = Extract<Path, { kind: 'neighbour' }>;

function silent({ via, device }: Way, server: string, severity: Finding['severity']): Finding {
  return {
    id: 'server-silent',
    severity,
    what:
      server.includes(via) || server.includes(`[${via}]`)
        ? `nobody answers for the real server ${server} on ${device}`
        : `nobody answers for ${via} on ${device}, the way to the real server ${server}`,
    why: 'what is sent there is lost',
    next: `is it up, and on that network? ip neighbour show ${via}; to take it out, weight 0`,
  };
}

function sizeFindings(scene: Scene, id: AddressServiceId, destination: Destination, path: Way): Finding[] {
  const front = frontOf(scene, id.address);
  if (!front) return [];
  const server = destinationKey(destination);
  if (destination.method === 'tunnel') {
    const room = roomFor(destination, path)!;
    if (room >= front.mtu) return [];
    return [
      {
        id: 'tunnel-mtu',
        severity: 'note',
        what: `packets to ${server} may have ${room} bytes inside the tunnel, and up to ${front.mtu} come in by ${front.name}`,
        why: 'clients are told to send smaller ones, which firewalls on their side may hide from them',
        fix: `ip link set ${path.device} mtu ${front.mtu + path.mtu - room}`,
        next: 'where the network takes no larger frames, "headgate agent up" on the real server asks for smaller segments',
      },
    ];
  }
  if (path.mtu < front.mtu)
    return [
      {
        id: 'mtu-smaller',
        severity: 'risky',
        what: `${path.device}, the way to ${server}, takes ${path.mtu} bytes, ${front.name} up to ${front.mtu}`,
        why: 'larger packets are refused, without "do not fragment" dropped',
        fix: `ip link set ${path.device} mtu ${front.mtu}`,
      },
    ];
  if (destination.method === 'masquerade' && id.protocol === 'udp' && path.mtu > front.mtu)
    return [
      {
        id: 'mtu-replies',
        severity: 'note',
        what: `datagrams of ${server} can have ${path.mtu} bytes, and ${front.name} takes ${front.mtu}`,
        why: 'larger answers are not fragmented here but dropped',
        fix: `ip link set ${path.device} mtu ${front.mtu}`,
        next: 'and the same on the real server',
      },
    ];
  return [];
}

function sameNetwork(scene: Scene, id: AddressServiceId, destination: Destination, path: Way): Finding[] {
  const front = frontOf(scene, id.address);
  if (front?.name !== path.device || !isOn(front.addresses, destination.address)) return [];
  return [
    {
      id: 'masquerade-same-network',
      severity: 'note',
      what: `the masqueraded real server ${destinationKey(destination)} is on ${front.name}, the network of ${id.address}`,
      why: 'clients on that network are answered directly, by an address they did not ask',
      next: 'clients from elsewhere are served; for those of this network use full NAT (--full-nat) or direct routing (-g)',
    },
  ];
}

const isOn = (
  addresses: readonly { readonly address: Address; readonly prefixLength: number }[],
  address: Address,
): boolean => addresses.some((one) => contains(one, address));
