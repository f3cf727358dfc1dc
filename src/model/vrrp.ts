import type { Address } from './address.ts';

/** `fault`: unfit, or not started. RFC 9568, 6.4 calls the others Initialize, Backup and Active. */
export type VrrpState = 'fault' | 'backup' | 'master';

/** Why an instance is in `fault` that was told to end. */
export const stoppedReason = 'stopped';

/** What was heard and did not count, or counted with a doubt (`interval`, `addresses`), by reason. */
export type RejectedAdvertisement =
  | 'length'
  | 'version'
  | 'type'
  | 'authentication-type'
  | 'authentication'
  | 'replay'
  | 'checksum'
  | 'hop-limit'
  | 'peer'
  | 'interval'
  | 'addresses';

/** What is wrong between directors, as an instance sees it. */
export type VrrpTrouble = { readonly interface: string } & (
  | /** Another director advertises as master, though it has heard of this one. */ {
      readonly kind: 'rival';
      readonly source: Address;
      readonly priority: number;
    }
  | /** What another one advertises does not count, or counts with a doubt. */ {
      readonly kind: 'refused';
      readonly source: Address;
      readonly why: RejectedAdvertisement;
    }
  | /** Another host says that it has a virtual address of this master. */ {
      readonly kind: 'claim';
      readonly address: Address;
      readonly mac: string;
    }
);

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
  /** A person has handed its addresses over: it takes over only where nobody else is master. */
  readonly standsBack?: true;
  /** What is wrong now; absent where nothing is. */
  readonly trouble?: readonly VrrpTrouble[];
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
  /** The weight counts the other way round; with weight 0 the instance gives up while it is well. */
  readonly reverse?: true;
};

/** What tracking makes of an instance: the priority it has, or why it may not serve at all. */
export type Fitness = {
  /** From 1 to 255. */
  readonly priority: number;
  /** Why it is unfit; absent where it is not. */
  readonly fault?: string;
  /** It takes over where nobody is master, and leaves a master of lower priority alone. */
  readonly waits?: true;
};

/** RFC 9568, 5.2.4: whoever owns the addresses; its priority is never adjusted. */
const ownerPriority = 255;

/** Priority and fault of an instance, as keepalived reckons them (doc/keepalived.conf.SYNOPSIS, weights). */
export function fitnessOf(base: number, tracked: readonly Tracked[]): Fitness {
  const lost = tracked.find(
    ({ weight, fault, reverse }) => weight === 0 && (fault !== undefined) !== (reverse === true),
  );
  const fault = lost && { fault: `${lost.what}: ${lost.fault ?? 'it is there'}` };
  if (base === ownerPriority) return { priority: base, ...fault };
  const sum = tracked.reduce((priority, one) => priority + adjustment(one), base);
  return { priority: Math.min(254, Math.max(1, sum)), ...fault };
}

/** What one of them adds to the priority. */
function adjustment({ weight, fault, reverse }: Tracked): number {
  const counts = weight > 0 === (fault === undefined);
  return counts ? (reverse ? -weight : weight) : 0;
}
