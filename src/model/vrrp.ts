import type { Address } from './address.ts';

/** `fault`: unfit, or not started. RFC 9568, 6.4 calls the others Initialize, Backup and Active. */
export type VrrpState = 'fault' | 'backup' | 'master';

/** What was heard and did not count, or counted with a doubt (`interval`, `addresses`), by reason. */
export type RejectedAdvertisement =
  | 'length'
  | 'version'
  | 'type'
  | 'authentication-type'
  | 'authentication'
  | 'checksum'
  | 'hop-limit'
  | 'peer'
  | 'interval'
  | 'addresses';

/** How a VRRP instance of a director stands. Pure data: it travels through the API as it is. */
export type VrrpStatus = {
  readonly name: string;
  readonly state: VrrpState;
  /** Why it is in this state. */
  readonly reason: string;
  /** How long it has been in this state. */
  readonly forMs: number;
  /** What it holds as master. */
  readonly addresses: readonly Address[];
  /** The priority it has now, with what tracking adds. */
  readonly priority: number;
  /** The address advertisements come from; absent where there is none. */
  readonly source?: Address;
  /** The master it heard last, and how long ago. */
  readonly master?: { readonly source: Address; readonly priority: number; readonly agoMs: number };
  /** Advertisements. */
  readonly sent: number;
  readonly received: number;
  readonly rejected: Readonly<Partial<Record<RejectedAdvertisement, number>>>;
};

/** Something whose loss counts for an instance. */
export type Tracked = {
  /** `interface eth1`, `script gateway`, `service web`. */
  readonly what: string;
  /** Added while it is well where positive, while it is not where negative; 0: the instance gives up without it. */
  readonly weight: number;
  /** Why it is not well; absent where it is. */
  readonly fault?: string;
};

/** What tracking makes of an instance: the priority it has, or why it may not serve at all. */
export type Fitness = {
  /** From 1 to 255. */
  readonly priority: number;
  /** Why it is unfit; absent where it is not. */
  readonly fault?: string;
};

/** RFC 9568, 5.2.4: whoever owns the addresses; its priority is never adjusted. */
const ownerPriority = 255;

/** Priority and fault of an instance, as keepalived reckons them (doc/keepalived.conf.SYNOPSIS, weights). */
export function fitnessOf(base: number, tracked: readonly Tracked[]): Fitness {
  const lost = tracked.find(({ weight, fault }) => weight === 0 && fault !== undefined);
  const fault = lost && { fault: `${lost.what}: ${lost.fault}` };
  if (base === ownerPriority) return { priority: base, ...fault };
  const sum = tracked.reduce(
    (priority, { weight, fault: why }) => priority + (weight > 0 === (why === undefined) ? weight : 0),
    base,
  );
  return { priority: Math.min(254, Math.max(1, sum)), ...fault };
}
