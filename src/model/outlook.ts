import type { Address } from './address.ts';

/** Where packets to an address go from this host. */
export type Path =
  | { readonly kind: 'local' }
  /** No route, or one that refuses. */
  | { readonly kind: 'none' }
  | {
      readonly kind: 'neighbour';
      readonly device: string;
      /** Whose MAC address the frame gets: the address itself, or a gateway's. */
      readonly via: Address;
      /** Absent while nobody has answered for `via`. */
      readonly mac?: string;
      /** Nobody answers for `via`: the kernel asked in vain. */
      readonly silent: boolean;
      /** Bytes a packet may have. */
      readonly mtu: number;
    };

/** Where a turn stands (rr, wrr): the place of the last choice in the list, newest first (-1: before the first). */
export type Turn = {
  readonly last: number;
  /** wrr: the weight that the next one must reach. */
  readonly rung: number;
};

/** What a plane looks at when a packet comes. Asking changes nothing. */
export type Outlook = {
  readonly paths: ReadonlyMap<Address, Path>;
  /** Absent where the scheduler has none. */
  readonly turn?: Turn;
  /** mh: the weight that counts for each destination, in the order they were added; while it is 0 the last one it had. */
  readonly lastWeights?: readonly number[];
};
