import type { Address } from '../model/address.ts';
import type { Tracked } from '../model/vrrp.ts';
import type { Groups } from './groups.ts';
import type { VrrpSettings } from './vrrp/machine.ts';
import type { AuthenticationType } from './vrrp/packet.ts';

/** A virtual address with the length of its prefix. */
export type HeldAddress = { readonly address: Address; readonly length: number };

/** A VRRP instance as the failover process is told of it; times in milliseconds. Travels as JSON. */
export type InstanceSettings = VrrpSettings & {
  readonly name: string;
  readonly interface: string;
  /** The address advertisements come from; absent: the first one of the interface. */
  readonly source?: Address;
  /** Who is told by unicast; none: multicast. */
  readonly peers: readonly Address[];
  /** What it holds as master and advertises. */
  readonly addresses: readonly HeldAddress[];
  /** What it holds as well and does not advertise. */
  readonly excludedAddresses: readonly HeldAddress[];
  /** Interfaces whose loss counts. */
  readonly trackInterfaces: readonly { readonly name: string; readonly weight: number }[];
  readonly authentication: { readonly type: AuthenticationType; readonly secret: string };
  readonly announce: { readonly repeat: number; readonly delay: number; readonly refresh: number };
};

/** What the failover process is told: all of it, each time. Travels as JSON. */
export type Orders = {
  readonly instances: readonly InstanceSettings[];
  /** By instance: its priority, and what the daemon tracks for it. */
  readonly tracking: Readonly<
    Record<string, { readonly priority: number; readonly tracked: readonly Tracked[] }>
  >;
  readonly groups: Groups;
};
