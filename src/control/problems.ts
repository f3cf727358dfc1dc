import { fullNatWords } from '../config/ipvsadm/full-nat-words.ts';
import { type Address, familyOf } from '../model/address.ts';
import { type Disagreement, disagreementText } from '../model/agreement.ts';
import type { MemberHealth } from '../model/health.ts';
import type { Outlook, Path } from '../model/outlook.ts';
import { decisionOn, memberKey, memberWord, type Override, readyCommand } from '../model/override.ts';
import { destinationKey } from '../model/service-id.ts';
import type { Connection, ServiceState } from '../model/table.ts';
import type { Destination, DestinationId, ServiceId, VirtualService } from '../model/virtual-service.ts';
import { type Names, plainNames } from './wanted.ts';

/** Something that keeps the client from being served, or will, with the way out. */
export type Problem = { readonly what: string; readonly remedy: string };

/** Why somebody is down; undefined when it is not. */
export type IsDown = (service: ServiceId, destination: DestinationId) => string | undefined;

/** What keeps packets to a virtual address from being taken. */
export function localProblems(address: Address, outlook: Outlook | undefined): Problem[] {
  const path = outlook?.paths.get(address);
  if (path === undefined || path.kind === 'local') return [];
  const device = path.kind === 'neighbour' ? path.device : 'INTERFACE';
  return [
    {
      what: `the virtual address ${address} is on no interface of this host, so nothing new is taken for it`,
      remedy: `ip address add ${address}/${familyOf(address) === 4 ? 32 : 128} dev ${device}`,
    },
  ];
}

/** That a real server's page is not that of the others. */
export function oddProblems(found: Disagreement | undefined): Problem[] {
  if (found === undefined) return [];
  return [{ what: `its ${disagreementText(found)}`, remedy: 'compare what was put on it and on the others' }];
}

/** What good checks of a real server warn of, by memberKey. */
export function warningsIn(members: readonly MemberHealth[]): ReadonlyMap<string, readonly Problem[]> {
  const warnings = new Map<string, Problem[]>();
  for (const { service, destination, last } of members) {
    if (!last?.result.isGood || last.result.warning === undefined) continue;
    const key = memberKey(service, destination);
    const problem = { what: `its ${last.result.warning}`, remedy: 'renew it on the real server' };
    warnings.set(key, [...(warnings.get(key) ?? []), problem]);
  }
  return warnings;
}

/** What becomes of a connection whose destination is gone, by what its service says. */
const goneWords = {
  drop: 'so its packets are dropped',
  expire: 'so it ends with its next packet',
  reset: 'so it ends with its next packet, and both ends are told',
} as const;

/** Why a connection whose destination is gone is not served; undefined where it goes on to it. */
export function deletedProblem(
  { destination }: Connection,
  { whenGone = 'drop' }: VirtualService,
): Problem | undefined {
  if (whenGone === 'keep') return undefined;
  return {
    what: `its real server ${destinationKey(destination)} is no longer in the service, ${goneWords[whenGone]}`,
    remedy: 'put the real server back, or let the client connect anew',
  };
}

/** Why a service whose real servers all have weight 0, or that has none, takes no new connection. */
export function nobodyProblem(
  { service, destinations }: ServiceState,
  overrides: readonly Override[] = [],
  isDown: IsDown = () => undefined,
  names: Names = plainNames,
): Problem {
  const name = names.service(service.id);
  const [first] = destinations;
  if (first === undefined)
    return {
      what: `${name} has no real server`,
      remedy: `headgate ipvsadm -a ${serviceWords(service.id)} -r SERVER`,
    };
  const decisions = destinations.map(({ destination }) => decisionOn(overrides, service.id, destination));
  const decision = decisions.find((one) => one !== undefined);
  const down = destinations.find(({ destination }) => isDown(service.id, destination));
  const full = destinations.find(({ overloaded, destination }) => overloaded && destination.weight > 0);
  const wordOf = (destination: DestinationId) =>
    memberWord(names.serviceName(service.id), names.realServer(service.id, destination));
  const weighted = ruleWords(service.id, { ...first.destination, weight: 1 });
  const remedies = [
    down && `headgate check ${wordOf(down.destination)} --verbose`,
    decision && readyCommand(decision),
    full &&
      `add a real server, or raise an upper threshold: ${names.realServer(service.id, full.destination)} has ${full.destination.upperThreshold}`,
    `give one of them a weight above 0: headgate ipvsadm -e ${weighted}`,
  ];
  return {
    what: `none of the ${destinations.length} real servers of ${name} may have new connections`,
    remedy: remedies.find((one) => one !== undefined)!,
  };
}

const methodWords = {
  masquerade: '-m',
  'direct-routing': '-g',
  tunnel: '-i',
  'full-nat': '--full-nat',
} as const;
const checksumWords = { none: '--tun-nocsum', checksum: '--tun-csum', remote: '--tun-remcsum' } as const;

/** How ipvsadm names a service. */
function serviceWords(id: ServiceId): string {
  if (id.kind === 'fwmark') return `-f ${id.mark}${id.family === 6 ? ' -6' : ''}`;
  const flag = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }[id.protocol];
  return `${flag} ${destinationKey(id)}`;
}

/** All of a real server's settings for ipvsadm, whose -e puts those that are left out back to the default. */
function ruleWords(id: ServiceId, destination: Destination): string {
  const { method, tunnel, fullNat, weight, upperThreshold, lowerThreshold } = destination;
  return [
    `${serviceWords(id)} -r ${destinationKey(destination)} ${methodWords[method]} -w ${weight}`,
    ...(upperThreshold > 0 ? [`-x ${upperThreshold}`] : []),
    ...(lowerThreshold > 0 ? [`-y ${lowerThreshold}`] : []),
    ...(tunnel && tunnel.type !== 'ipip' ? [`--tun-type ${tunnel.type}`] : []),
    ...(tunnel && tunnel.port > 0 ? [`--tun-port ${tunnel.port}`] : []),
    ...(tunnel && tunnel.type !== 'ipip' ? [checksumWords[tunnel.checksum]] : []),
  ]
    .join(' ')
    .concat(fullNat ? fullNatWords(fullNat) : '');
}

/** Bytes of the outer header. */
/** Outer IP headers. */
const tunnelOverhead = { 4: 20, 6: 40 } as const;

/** Bytes between them and the inner packet: UDP and GUE, or GRE (shim_length in bpf/shim.h). */
function shimLength({ tunnel }: Destination): number {
  if (tunnel?.type === 'gue') return 12;
  if (tunnel?.type === 'gre') return tunnel.checksum === 'none' ? 4 : 8;
  return 0;
}

/** What keeps packets from reaching a real server, whoever the client is. */
export function reachProblems(destination: Destination, outlook: Outlook | undefined): Problem[] {
  const { address, method, tunnel } = destination;
  const path = outlook?.paths.get(address);
  if (path === undefined || path.kind === 'local') return [];
  if (path.kind === 'none')
    return [{ what: `there is no route to the real server ${address}`, remedy: `ip route get ${address}` }];
  const found: Problem[] = [];
  if (path.silent)
    found.push({
      what: `nobody answers for ${path.via} on ${path.device}`,
      remedy: `is it up, and on that network? ip neighbour show ${path.via}`,
    });
  if (method === 'direct-routing' && path.via !== address)
    found.push({
      what: `direct routing hands the packet to the gateway ${path.via}, which would bring it back: the real server is on another network`,
      remedy: 'use method tunnel (-i), or put the real server on a network of this host',
    });
  if (method === 'tunnel' && tunnel && tunnel.type !== 'ipip')
    found.push({
      what: `tunnels of type ${tunnel.type} are not forwarded yet`,
      remedy: 'use ipip: --tun-type ipip',
    });
  return found;
}

/** What is between a client and a destination that is to serve it. */
export function pathProblems(
  client: { readonly address: Address },
  destination: Destination,
  outlook: Outlook | undefined,
): Problem[] {
  const { address, method } = destination;
  const path = outlook?.paths.get(address);
  const found = reachProblems(destination, outlook);
  if (path?.kind !== 'neighbour') return found;
  const back = outlook?.paths.get(client.address);
  const near = back?.kind === 'neighbour' && back.via === client.address && back.device === path.device;
  if (method === 'masquerade' && near && path.via === address)
    found.push({
      what: `the client is on the real server's network (${path.device}), which answers it directly, past this host`,
      remedy:
        'give the real server a route to the client through this host, or use full NAT (--full-nat) or direct routing (-g)',
    });
  return found;
}

/** What a packet may have on the way to a destination, bytes. */
export function roomFor(destination: Destination, path: Path): number | undefined {
  if (path.kind !== 'neighbour') return undefined;
  return destination.method === 'tunnel'
    ? path.mtu - tunnelOverhead[familyOf(destination.address)] - shimLength(destination)
    : path.mtu;
}
