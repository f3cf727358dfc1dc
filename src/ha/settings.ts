import type { Address } from '../model/address.ts';
import type { Tracked } from '../model/vrrp.ts';
import type { Groups } from './groups.ts';
import type { Paths } from './paths.ts';
import type { VrrpSettings } from './vrrp/machine.ts';
import type { AuthenticationType } from './vrrp/packet.ts';

/** A virtual address with the length of its prefix. */
export type HeldAddress = { readonly address: Address; readonly length: number };

/** A VRRP instance as the failover process is told of it; times in milliseconds. Travels as JSON. */
export type InstanceSettings = VrrpSettings & {
  readonly name: string;
  readonly interface: string;
  /**
   * Its addresses have the MAC address of the virtual router, and so have multicast advertisements (`all`) or not
   * (`addresses`); absent: that of the interface.
   */
  readonly virtualMac?: 'all' | 'addresses';
  /** The address advertisements come from; absent: the first one of the interface. */
  readonly source?: Address;
  /** Who is told by unicast; none: multicast. */
  readonly peers: readonly Address[];
  /** What it holds as master and advertises. */
  readonly addresses: readonly HeldAddress[];
  /** What it holds as well and does not advertise. */
  readonly excludedAddresses: readonly HeldAddress[];
  /** Interfaces whose loss counts. */
  readonly trackInterfaces: readonly {
    readonly name: string;
    readonly weight: number;
    readonly reverse?: true;
  }[];
  /** Routes and rules it holds as master. */
  readonly paths: Paths;
  readonly authentication: { readonly type: AuthenticationType; readonly secret: string };
  /** What becomes of a master that keeps hearing another one of lower priority. */
  readonly rival: 'defend' | 'yield';
  readonly announce: { readonly repeat: number; readonly delay: number; readonly refresh: number };
};

/**
 * Where a data plane looks whether an address is held: two BPF maps, pinned (their records: bpf/lease.h). Who starts the
 * failover process knows them.
 */
export type LeaseMaps = {
  /** An array of moments, nanoseconds since boot. */
  readonly leases: string;
  /** Which of them an address goes by. */
  readonly addresses: string;
};

/** An address at which a master takes nothing (RFC 9568, 6.1: Accept_Mode) but what its services are for. */
export type RefusingAddress = {
  readonly address: Address;
  /** IP protocols and ports; port 0: all of the protocol. */
  readonly served: readonly { readonly protocol: number; readonly port: number }[];
  /** Firewall marks of services. */
  readonly marks: readonly number[];
};

/** What the failover process is told: all of it, each time. Travels as JSON. */
export type Orders = {
  readonly instances: readonly InstanceSettings[];
  /** By instance: its priority, and what the daemon tracks for it. */
  readonly tracking: Readonly<
    Record<string, { readonly priority: number; readonly tracked: readonly Tracked[] }>
  >;
  readonly groups: Groups;
  /** Absent where no data plane looks: the kernel alone lets go of addresses then. */
  readonly leases?: LeaseMaps;
  /** What is held whoever is master. */
  readonly always: Paths;
  readonly refusing?: readonly RefusingAddress[];
  /** What a master of lower priority has still to tell: until it has, it stays master. */
  readonly awaits?: 'connections';
};
