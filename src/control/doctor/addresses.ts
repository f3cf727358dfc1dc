import type { HostSurvey, SurveyedInterface } from '../../dataplane/host-survey.ts';
import { type Address, familyOf } from '../../model/address.ts';
import {
  alone,
  contains,
  type Finding,
  frontOf,
  holderOf,
  ofInterface,
  type Scene,
  virtualAddresses,
} from './finding.ts';

/** What keeps packets from reaching the virtual addresses. */
export function addressFindings(scene: Scene): Finding[] {
  return virtualAddresses(scene).flatMap((address) => findingsOf(scene, address));
}

function findingsOf(scene: Scene, address: Address): Finding[] {
  const { host } = scene;
  const holder = holderOf(host, address);
  // The kernel has no route to an address it does not use.
  const duplicate = holder ? duplicateFindings(holder, address) : [];
  if (duplicate.length > 0) return duplicate;
  if (host.paths.get(address)?.kind !== 'local') return [notLocal(scene, address)];
  // Local by a route alone (ip route add local): somebody has arranged how packets come.
  if (!holder) return [];
  return [
    ...portFindings(holder, address),
    ...linkFindings(holder, address),
    ...answerFindings(host, holder, address),
    ...host.claims.filter((claim) => claim.address === address).map(claimed),
  ];
}

function notLocal(scene: Scene, address: Address): Finding {
  const path = scene.host.paths.get(address);
  const device =
    frontOf(scene, address)?.name ??
    (path?.kind === 'neighbour' ? path.device : undefined) ??
    scene.host.interfaces.find(({ up, loopback, role }) => up && !loopback && role === 'covered')?.name;
  const nodad = familyOf(address) === 6 ? ' nodad' : '';
  return {
    id: 'vip-not-local',
    severity: 'broken',
    what: `the virtual address ${address} is on no interface of this host`,
    why: 'nothing new is taken for it; on a standby director this is as it should be',
    fix: `ip address add ${alone(address)} dev ${device ?? 'lo'}${nodad}`,
  };
}

function portFindings({ name, role, master, addresses }: SurveyedInterface, address: Address): Finding[] {
  if (role !== 'port' || master === undefined) return [];
  const prefix = `${address}/${addresses.find((one) => one.address === address)!.prefixLength}`;
  return [
    {
      id: 'vip-on-port',
      severity: 'broken',
      what: `the virtual address ${address} is on ${name}, a port of ${master}`,
      why: `the data plane takes packets at ${master}, and a port answers no ARP`,
      fix: `ip address del ${prefix} dev ${name} && ip address add ${prefix} dev ${master}`,
    },
  ];
}

function linkFindings({ name, up, carrier, loopback }: SurveyedInterface, address: Address): Finding[] {
  if (loopback || (up && carrier)) return [];
  return [
    {
      id: 'vip-link-down',
      severity: 'broken',
      what: `${name}, which has the virtual address ${address}, ${up ? 'has no carrier' : 'is down'}`,
      why: 'nothing arrives by it',
      ...(up
        ? { next: 'look at the cable, the switch port and the other end' }
        : { fix: `ip link set ${name} up` }),
    },
  ];
}

/** Whether an interface answers ARP for an address that `holder` has (arp_ignore, net/ipv4/arp.c). */
function answersArp(one: SurveyedInterface, holder: SurveyedInterface, address: Address): boolean {
  if (!one.up || !one.arp || one.loopback || one.role === 'port' || one.role === 'internal') return false;
  switch (one.arpIgnore) {
    case 1:
      return one === holder;
    case 2:
      return (
        one === holder && one.addresses.some((other) => other.prefixLength < 32 && contains(other, address))
      );
    case 8:
      return false;
    default:
      return true;
  }
}

function answerFindings(host: HostSurvey, holder: SurveyedInterface, address: Address): Finding[] {
  if (familyOf(address) === 6) {
    // IPv6 answers only on the interface that has the address (ndisc_recv_ns, net/ipv6/ndisc.c).
    return holder.loopback || !holder.arp
      ? [
          {
            id: 'vip-hidden',
            severity: 'risky',
            what: `the virtual address ${address} is on ${holder.name}, which answers no neighbour discovery`,
            why: 'it is found only if a router has a route for it to this host',
            next: `where no router has one: put it on the interface towards clients, ip -6 address add ${alone(address)} dev INTERFACE nodad`,
          },
        ]
      : [];
  }
  if (holder.role === 'port' || !(holder.loopback || holder.up)) return [];
  const answering = host.interfaces.filter((one) => answersArp(one, holder, address));
  if (answering.length === 0)
    return [
      {
        id: 'vip-hidden',
        severity: 'broken',
        what: `no interface answers ARP for the virtual address ${address}`,
        why: 'clients and routers on its network do not find it, unless a route leads here',
        ...remedyOf(unhide(host, holder)),
      },
    ];
  if (holder.loopback || holder.kind === 'dummy' || answering.includes(holder)) return [];
  return [
    {
      id: 'vip-noarp',
      severity: 'risky',
      what: `${holder.name} has the virtual address ${address} and does not answer ARP for it`,
      why: `only ${answering.map(({ name }) => name).join(', ')} answers`,
      fix: unhide(host, holder),
    },
  ];
}

/** Makes the holder answer; where it is loopback, the interfaces that have a network. */
/** Without an interface that could answer there is no command that would make one. */
const remedyOf = (fix: string): Pick<Finding, 'fix' | 'next'> =>
  fix === ''
    ? { next: 'bring the interface towards clients up, with an IPv4 address: ip link set INTERFACE up' }
    : { fix };

function unhide(host: HostSurvey, holder: SurveyedInterface): string {
  const inward = holder.loopback || holder.kind === 'dummy';
  const speakers = inward
    ? host.interfaces.filter(
        ({ up, arp, loopback, role, addresses }) =>
          up &&
          arp &&
          !loopback &&
          role === 'covered' &&
          addresses.some((one) => familyOf(one.address) === 4),
      )
    : [holder];
  const settings = speakers
    .filter(({ arpIgnore }) => arpIgnore > 0)
    .map(({ name }) => `${ofInterface(name, 'arp_ignore')}=0`);
  return [
    ...(inward || holder.arp ? [] : [`ip link set ${holder.name} arp on`]),
    ...(settings.length > 0
      ? [`sysctl -w ${[`${ofInterface('all', 'arp_ignore')}=0`, ...settings].join(' ')}`]
      : []),
  ].join(' && ');
}

function duplicateFindings({ name, addresses }: SurveyedInterface, address: Address): Finding[] {
  const found = addresses.find((one) => one.address === address)!;
  if (!found.duplicate) return [];
  const prefix = `${address}/${found.prefixLength}`;
  return [
    {
      id: 'vip-duplicate',
      severity: 'broken',
      what: `another machine has the virtual address ${address}: IPv6 found it on ${name} and does not use ours`,
      why: 'the kernel takes no packet for a duplicate address',
      next: 'take it off the other machine, or make that one a real server: headgate agent up',
      fix: `ip -6 address del ${prefix} dev ${name}; ip -6 address add ${prefix} dev ${name} nodad`,
    },
  ];
}

function claimed({ address, device, mac }: HostSurvey['claims'][number]): Finding {
  return {
    id: 'vip-claimed',
    severity: 'broken',
    what: `the machine with MAC ${mac} on ${device} answers ARP for the virtual address ${address} too`,
    why: 'clients that ask for it reach that machine past the director, now and then',
    next: `if it is a real server, there: headgate agent up --vip ${address} --method direct-routing`,
  };
}
