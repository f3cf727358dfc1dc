import type { Address } from './address.ts';
import type { DestinationId, Protocol } from './virtual-service.ts';

/** What is asked: a client at a virtual address. Without a port, the client may come from any. */
export type Question = {
  readonly protocol: Protocol;
  readonly client: { readonly address: Address; readonly port?: number };
  readonly virtual: DestinationId;
  /** The firewall mark that the packet has; absent: whichever the rules of nftables give it. */
  readonly mark?: number;
};
