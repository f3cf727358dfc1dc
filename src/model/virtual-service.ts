import type { Address, Family } from './address.ts';

/** Transport protocols a virtual service can be defined for. */
export type Protocol = 'tcp' | 'udp' | 'sctp';

/** A virtual service named by protocol, virtual address and port (port 0: every port, persistent services only). */
export type AddressServiceId = {
  readonly kind: 'address';
  readonly protocol: Protocol;
  readonly address: Address;
  readonly port: number;
};

/** A virtual service named by a firewall mark; IPv4 and IPv6 are separate services of one mark. */
export type FwmarkServiceId = { readonly kind: 'fwmark'; readonly mark: number; readonly family: Family };

/** What identifies a virtual service. */
export type ServiceId = AddressServiceId | FwmarkServiceId;

/** Schedulers by the kernel's names, in the order ipvsadm's help lists them, `twos` last. */
// biome-ignore format: as a list
export const schedulerNames = [
  'rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'twos',
] as const;
export type SchedulerName = (typeof schedulerNames)[number];

/** The three scheduler flag bits; for `sh` and `mh` flag 1 is fallback and flag 2 is port. */
export type SchedulerFlags = { readonly flag1: boolean; readonly flag2: boolean; readonly flag3: boolean };

/** Persistence: connections of one client (masked by `netmask`) stay with one destination. */
export type Persistence = {
  /** Lifetime of a template, seconds. */
  readonly timeoutSeconds: number;
  /** IPv4: the mask as unsigned 32-bit number (0xffffffff: every client for itself). IPv6: prefix length 1..128. */
  readonly netmask: number;
  /** Persistence engine; absent means by client address. */
  readonly engine?: string;
};

/**
 * What becomes of a service's connections whose real server is no longer in it, when the client's next packet comes: `drop`
 * is IPVS's rule (silence until the entry expires; with the sysctl expire_nodest_conn as `expire`), `keep` lets them go on,
 * `expire` ends them and schedules anew what may open a connection, `reset` ends them and tells both ends.
 */
export const whenGoneWords = ['drop', 'keep', 'expire', 'reset'] as const;
export type WhenGone = (typeof whenGoneWords)[number];

/** A virtual service and its settings, without destinations. */
export type VirtualService = {
  readonly id: ServiceId;
  readonly scheduler: SchedulerName | 'none';
  readonly schedulerFlags: SchedulerFlags;
  readonly persistence?: Persistence;
  /** One-packet scheduling: every UDP datagram is scheduled on its own. */
  readonly onePacket: boolean;
  /** What becomes of connections whose real server is gone. Absent: `drop`; of an edit: as it was. */
  readonly whenGone?: WhenGone;
};

/**
 * How packets reach a real server: ipvsadm's -m, -g and -i, and `full-nat`, which IPVS does not have: the source is translated
 * too, to an address of the director, so that the real server needs no way back through it.
 */
export const methodNames = ['masquerade', 'direct-routing', 'tunnel', 'full-nat'] as const;
export type ForwardingMethod = (typeof methodNames)[number];

/** The methods that IPVS has. */
export type KernelMethod = Exclude<ForwardingMethod, 'full-nat'>;

/** Whether a method translates the destination, and with it the port. */
export const translates = (method: ForwardingMethod): boolean =>
  method === 'masquerade' || method === 'full-nat';

/**
 * How a real server behind full NAT hears of the client: not at all, by a TCP option in the first segments, or by the PROXY
 * protocol's version 2 before the first byte.
 */
export const clientAddressWords = ['hidden', 'tcp-option', 'proxy-protocol'] as const;

/** Full NAT to one real server. */
export type FullNat = {
  /** Addresses of the director that the real server sees, at most `mostLocalAddresses`; none: the one its route prefers. */
  readonly localAddresses: readonly Address[];
  readonly clientAddress: (typeof clientAddressWords)[number];
};
export const mostLocalAddresses = 8;

/** Encapsulation of the `tunnel` method. */
export type Tunnel = {
  readonly type: 'ipip' | 'gue' | 'gre';
  /** UDP port of `gue`, else 0. */
  readonly port: number;
  readonly checksum: 'none' | 'checksum' | 'remote';
};

/** What identifies a destination inside its virtual service. */
export type DestinationId = { readonly address: Address; readonly port: number };

/** A real server's entry in a data plane. */
export type Destination = DestinationId & {
  readonly method: ForwardingMethod;
  /** 0: quiescent, gets no new connections. */
  readonly weight: number;
  /** Connections (active + inactive) from which the destination is overloaded; 0: never. */
  readonly upperThreshold: number;
  /** Connections below which an overloaded destination serves again; 0: three quarters of the upper threshold. */
  readonly lowerThreshold: number;
  /** Present exactly when the method is `tunnel`. */
  readonly tunnel?: Tunnel;
  /** Present exactly when the method is `full-nat`. */
  readonly fullNat?: FullNat;
  /**
   * While the weight is 0, persistence brings nobody back: the sysctl expire_quiescent_template for this one. IPVS has no
   * such setting, and no configuration: maintenance sets it.
   */
  readonly expiresTemplates?: true;
};

/** Timeouts that users can set (ipvsadm --set), seconds. */
export type Timeouts = { readonly tcp: number; readonly tcpFin: number; readonly udp: number };
