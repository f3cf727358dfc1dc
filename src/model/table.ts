import type { Sysctls } from './sysctls.ts';
import type { Destination, DestinationId, ServiceId, Timeouts, VirtualService } from './virtual-service.ts';

/** A virtual service with its destinations in the order they were added (the kernel's list is the reverse). */
export type ServiceEntry = {
  readonly service: VirtualService;
  readonly destinations: readonly Destination[];
};

/** What a data plane is told to do: the whole set of virtual services. */
export type Table = { readonly services: readonly ServiceEntry[] };

/** Traffic counters since creation or the last zeroing; bytes are of layer 3. */
export type Counters = {
  readonly connections: bigint;
  readonly packetsIn: bigint;
  readonly packetsOut: bigint;
  readonly bytesIn: bigint;
  readonly bytesOut: bigint;
};

/** Per-second rates of the same five quantities. */
export type Rates = Counters;

/** A destination as a data plane sees it now. */
export type DestinationState = {
  readonly destination: Destination;
  readonly activeConnections: number;
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
  /** It came to its upper threshold and is not below its lower one since: no scheduler takes it. Absent: it is not. */
  readonly overloaded?: true;
  readonly counters: Counters;
  readonly rates: Rates;
};

/** A virtual service as a data plane sees it now; destinations in the order they were added. */
export type ServiceState = {
  readonly service: VirtualService;
  readonly destinations: readonly DestinationState[];
  readonly counters: Counters;
  readonly rates: Rates;
};

/** Everything a data plane holds. */
export type Observed = {
  readonly services: readonly ServiceState[];
  readonly timeouts: Timeouts;
  /** Absent where the data plane has none. */
  readonly sysctls?: Sysctls;
  /** Connections the table can hold. */
  readonly connectionTableSize: number;
};

/** One change of a table. A list of operations is applied in order. */
export type Operation =
  | { readonly kind: 'add-service'; readonly service: VirtualService }
  | { readonly kind: 'edit-service'; readonly service: VirtualService }
  | { readonly kind: 'delete-service'; readonly id: ServiceId }
  | { readonly kind: 'add-destination'; readonly id: ServiceId; readonly destination: Destination }
  | { readonly kind: 'edit-destination'; readonly id: ServiceId; readonly destination: Destination }
  | { readonly kind: 'delete-destination'; readonly id: ServiceId; readonly destination: DestinationId }
  | { readonly kind: 'set-timeouts'; readonly timeouts: Partial<Timeouts> }
  | { readonly kind: 'set-sysctls'; readonly sysctls: Partial<Sysctls> }
  | { readonly kind: 'zero'; readonly id?: ServiceId }
  | { readonly kind: 'flush' };

/**
 * Why a table refuses an operation: the kernel's reasons (net/netfilter/ipvs/ip_vs_ctl.c), by meaning.
 * `no-such-service` is ESRCH, `service-exists` and `destination-exists` EEXIST, `no-such-destination` ENOENT,
 * `unknown-scheduler` ENOENT, `invalid` EINVAL, `out-of-range` ERANGE, `table-full` ENOMEM, `unsupported-family` EAFNOSUPPORT.
 */
export type RefusalReason =
  | 'service-exists'
  | 'no-such-service'
  | 'destination-exists'
  | 'no-such-destination'
  | 'unknown-scheduler'
  | 'invalid'
  | 'out-of-range'
  | 'table-full'
  | 'unsupported-family';

/** A refused operation: nothing of it was applied. */
export type Refusal = { readonly reason: RefusalReason; readonly detail: string };

/** One row of the connection table. */
export type Connection = {
  readonly protocol: 'tcp' | 'udp' | 'sctp' | 'ip';
  readonly client: DestinationId;
  readonly virtual: DestinationId;
  readonly destination: DestinationId;
  /** State by the kernel's name (ESTABLISHED, FIN_WAIT, UDP, ...). */
  readonly state: string;
  readonly active: boolean;
  readonly template: boolean;
  /** Another director told of it. Absent: it came about here. */
  readonly synced?: true;
  /** Milliseconds until the entry expires if nothing more arrives. */
  readonly expiresInMs: number;
  /** What a persistence engine keeps of it. */
  readonly engine?: { readonly name: string; readonly data: string };
};
