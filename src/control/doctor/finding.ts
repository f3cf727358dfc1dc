import type { Capabilities } from '../../dataplane/data-plane.ts';
import type { HostSurvey, SurveyedInterface } from '../../dataplane/host-survey.ts';
import { type Address, addressToBytes, familyOf } from '../../model/address.ts';
import type { Member, Override } from '../../model/override.ts';
import type { Observed } from '../../model/table.ts';
import type { AddressServiceId, Destination, VirtualService } from '../../model/virtual-service.ts';

/** `broken`: clients are not served. `risky`: some are not, or will not be. `note`: good to know. */
export const severities = ['broken', 'risky', 'note'] as const;
export type Severity = (typeof severities)[number];

/** Every finding by its id, which never gets another meaning; docs/doctor.md has the same table. */
export const findingMeanings = {
  'vip-not-local': 'A virtual address is on no interface',
  'vip-on-port': 'A virtual address is on a port of a bridge or bond',
  'vip-link-down': 'The interface of a virtual address is down or has no carrier',
  'vip-hidden': 'No interface answers ARP for a virtual address, or none neighbour discovery',
  'vip-noarp': 'The interface of a virtual address does not answer ARP for it',
  'vip-claimed': 'Another machine answers ARP for a virtual address',
  'vip-duplicate': 'IPv6 found another machine with a virtual address',
  'service-empty': 'A virtual service has no real server that may have new connections',
  'server-no-route': 'There is no route to a real server',
  'server-silent': 'Nobody answers ARP or neighbour discovery for a real server or its gateway',
  'server-behind-gateway': 'Direct routing to a real server on another network',
  'tunnel-mtu': 'Packets of full size do not fit into a tunnel',
  'mtu-smaller': 'The way to a real server takes smaller packets than the one clients come in by',
  'mtu-replies': 'Datagrams of a masqueraded real server can be larger than the way to clients takes',
  'masquerade-same-network':
    'Clients on the network of a masqueraded real server get answers past the director',
  'local-address-missing': 'A local address of full NAT is on no interface',
  'local-address-virtual': 'A local address of full NAT is a virtual address',
  'local-address-network': 'A local address of full NAT is not on the network of its real server',
  'local-ports-shared': "Full NAT and the kernel's own connections take the same ports",
  'rp-filter': 'A strict source check drops packets of clients that the director serves itself',
  'ip-forward': 'The director forwards nothing that real servers send on their own account',
  'send-redirects': 'The director tells masqueraded real servers of ways past it',
  'no-default-route': 'The director has no way back to clients of masqueraded services',
  'loopback-settings': 'A kernel parameter that the data plane needs was changed',
  'loopback-down': 'The director is a real server itself and its loopback interface is down',
  'mark-rules': 'Rules that bring marked packets to the data plane are missing or out of order',
  'mark-forwarding': 'The kernel does not route, so that no marked packet gets to the data plane',
  'mark-unset': 'No rule of the firewall sets the mark of a virtual service',
  'mark-source-check': 'A strict source check goes by marks, and drops marked packets',
  'firewall-bypassed': 'A firewall rule speaks of a virtual service, whose packets do not pass the firewall',
  'firewall-policy': 'The firewall refuses by default, which does not guard virtual services',
  'firewall-unread': 'Rules of the older iptables exist, which are not read here',
  'program-missing': 'An interface lacks the program that forwards',
  'program-before': 'Another program sees packets before ours',
  'interface-uncovered': 'An interface of a kind whose packets the program does not read',
  'internal-pair': 'The interfaces hg0 and hg1, through which ICMP errors go, are missing or down',
  'kernel-ipvs': 'IPVS in the kernel has virtual services at the same time',
  'table-full': 'The connection table is full or nearly so',
  'sweeper-stopped': 'The timer that expires connections does not run',
  'new-connections-held': 'New connections are held back',
  'packets-lost': 'Packets were dropped or refused since the data plane was set up',
  'conntrack-full': "The kernel's connection tracking is nearly full",
  'neighbours-full': 'The ARP or neighbour table is nearly full',
  'lro-on': 'An interface joins received packets so that they cannot be forwarded',
  'jit-off': 'BPF programs are interpreted instead of compiled',
  'no-tcx': 'The kernel has no tcx links',
  'plane-ipvs': "The data plane is the kernel's IPVS, and why",
} as const satisfies Record<string, string>;
export type FindingId = keyof typeof findingMeanings;

/** Something that is wrong, or may become so. */
export type Finding = {
  readonly id: FindingId;
  readonly severity: Severity;
  readonly what: string;
  /** Why it matters. */
  readonly why: string;
  /** The command that puts it right, ready for the shell. */
  readonly fix?: string;
  /** What to do where no command does it, or before it does. */
  readonly next?: string;
};

/** What is judged: the table and the host. */
export type Scene = {
  readonly observed: Observed;
  readonly host: HostSurvey;
  /** What people have decided about real servers. */
  readonly overrides?: readonly Override[];
  /** Whom checks have found to be down. */
  readonly down?: readonly Member[];
  /** Who forwards; absent: the plane of our own programs. */
  readonly dataPlane?: Pick<Capabilities, 'name' | 'description'>;
};

type AddressService = VirtualService & { readonly id: AddressServiceId };

/** The services that have an address, with their destinations. */
export function addressServices({
  observed,
}: Scene): { readonly service: AddressService; readonly destinations: readonly Destination[] }[] {
  return observed.services.flatMap(({ service, destinations }) =>
    service.id.kind === 'address'
      ? [
          {
            service: { ...service, id: service.id },
            destinations: destinations.map(({ destination }) => destination),
          },
        ]
      : [],
  );
}

/** The virtual addresses, each once. */
export const virtualAddresses = (scene: Scene): Address[] => [
  ...new Set(addressServices(scene).map(({ service }) => service.id.address)),
];

/** The interface that has an address. */
export const holderOf = ({ interfaces }: HostSurvey, address: Address): SurveyedInterface | undefined =>
  interfaces.find(({ addresses }) => addresses.some((one) => one.address === address));

/** The interface by which clients of a virtual address come in, as far as the host can tell. */
export function frontOf({ host }: Scene, address: Address): SurveyedInterface | undefined {
  const holder = holderOf(host, address);
  if (holder && !holder.loopback && holder.kind !== 'dummy') return holder;
  const family = familyOf(address);
  return (
    host.interfaces.find(
      ({ addresses, loopback }) => !loopback && addresses.some((one) => contains(one, address)),
    ) ?? host.interfaces.find(({ name }) => host.defaultRoutes[family][0] === name)
  );
}

/** Whether an address is in the network of one an interface has. */
export function contains(
  { address: of, prefixLength }: { readonly address: Address; readonly prefixLength: number },
  address: Address,
): boolean {
  const [a, b] = [addressToBytes(of), addressToBytes(address)];
  if (a.length !== b.length) return false;
  return [...a].every((byte, i) => {
    const bits = Math.min(8, Math.max(0, prefixLength - 8 * i));
    return ((byte ^ b[i]!) & (0xff << (8 - bits)) & 0xff) === 0;
  });
}

/** The address with the length that means it alone. */
export const alone = (address: Address): string => `${address}/${familyOf(address) === 4 ? 32 : 128}`;

/** An interface's parameter as sysctl(8) takes it: a dot in its name becomes a slash. */
export const ofInterface = (device: string, parameter: string): string =>
  `net.ipv4.conf.${device.replaceAll('.', '/')}.${parameter}`;
