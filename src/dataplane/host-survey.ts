import type { Address, Family } from '../model/address.ts';
import type { Path } from '../model/outlook.ts';
import type { FirewallChain, FirewallRule } from '../sys/netlink/firewall.ts';

/**
 * What a host looks like to somebody who searches for the reason why packets of a virtual service go astray: read, not
 * judged. Asking mends nothing, so that what is broken can be seen.
 */
export type HostSurvey = {
  /** Absent: no data plane is set up here. */
  readonly plane?: PlaneSurvey;
  /** Whether the kernel attaches programs by tcx links. */
  readonly tcx: boolean;
  readonly interfaces: readonly SurveyedInterface[];
  /** Devices of the default routes. */
  readonly defaultRoutes: Readonly<Record<Family, readonly string[]>>;
  /** Where packets to every virtual address, destination and local address of full NAT go; neighbours have been asked. */
  readonly paths: ReadonlyMap<Address, Path>;
  /** Kernel parameters of the host that are not of one interface, by sysctl(8)'s names, as far as there are any. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Entries of the ARP and NDP tables in this network namespace. */
  readonly neighbours: number;
  /** Other machines that answer ARP for a virtual address of this host. */
  readonly claims: readonly { readonly address: Address; readonly device: string; readonly mac: string }[];
  readonly firewall: {
    readonly chains: readonly FirewallChain[];
    readonly rules: readonly FirewallRule[];
    /** Tables of the older iptables, whose rules are not read. */
    readonly unread: readonly string[];
  };
  /** Virtual services of the IPVS in this kernel; `undefined` address: a firewall mark. */
  readonly kernelServices: readonly KernelService[];
};

export type PlaneSurvey = {
  /** Directions of interfaces where the program should run and does not. */
  readonly missing: readonly { readonly device: string; readonly direction: 'ingress' | 'egress' }[];
  /** Programs of others that see packets first, by interface. */
  readonly before: readonly { readonly device: string; readonly programs: readonly string[] }[];
  /** The veth pair for ICMP errors is there and up. */
  readonly internalPair: boolean;
  /** Native code, not interpreted. */
  readonly compiled: boolean;
  /** New connections are held back while the table is converted. */
  readonly held: boolean;
  readonly entries: number;
  /** The ports of local addresses that full NAT takes; absent while nobody has needed any. */
  readonly localPorts?: { readonly first: number; readonly count: number };
  /** Milliseconds since the timer that expires connections last ran; it runs several times a second. */
  readonly sweptMsAgo: number;
  /** How packets of firewall-mark services come to the program; absent without such a service. */
  readonly marks?: {
    /** Rules that should be there and are not, as `ip rule` writes them. */
    readonly missing: readonly string[];
    /** IP versions whose rule for local addresses comes before those for marks. */
    readonly localFirst: readonly Family[];
  };
  /** Packets that did not go the usual way, since the plane was set up. */
  readonly events: Readonly<Partial<Record<SurveyedEvent, number>>>;
};

/** What the program counts that somebody should know about. */
export const surveyedEvents = [
  'TABLE_FULL',
  'NO_ROUTE',
  'TOO_BIG',
  'FRAGMENT_LOST',
  'CONTENTION',
  'MALFORMED',
] as const;
export type SurveyedEvent = (typeof surveyedEvents)[number];

export type SurveyedInterface = {
  readonly index: number;
  readonly name: string;
  readonly kind?: string;
  readonly up: boolean;
  readonly carrier: boolean;
  readonly mtu: number;
  /** It resolves addresses by ARP. */
  readonly arp: boolean;
  readonly loopback: boolean;
  /** `port`: of a bridge or bond; `unsupported`: its frames have a header the program does not read. */
  readonly role: 'covered' | 'port' | 'internal' | 'unsupported';
  /** The bridge or bond it is a port of. */
  readonly master?: string;
  readonly addresses: readonly {
    readonly address: Address;
    readonly prefixLength: number;
    /** IPv6: another machine has it, or it is not settled yet whether one has. */
    readonly duplicate: boolean;
    readonly tentative: boolean;
  }[];
  /** IPv4 parameters as they take effect, the interface's own and those of `all` together. */
  readonly rpFilter: number;
  readonly arpIgnore: number;
  readonly sendRedirects: boolean;
  /** Large receive offload. */
  readonly lro: boolean;
  /** An XDP program is attached. */
  readonly xdp: boolean;
};

export type KernelService = {
  readonly protocol: string;
  readonly address?: Address;
  readonly port?: number;
};
