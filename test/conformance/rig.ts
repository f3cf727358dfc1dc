import type { DataPlane } from '../../src/dataplane/data-plane.ts';
import type { Address, Family } from '../../src/model/address.ts';
import type { AddressServiceId, DestinationId } from '../../src/model/virtual-service.ts';
import type { RuleName } from './rules.ts';

export type Transport = 'tcp' | 'udp';

/** A client's connection, or its datagrams from one port, that found a real server. */
export type Conversation = {
  readonly server: DestinationId;
  /** One message of the client: who gets it; undefined: nobody. */
  say(): Promise<DestinationId | undefined>;
  /** TCP: the client resets it. Resolves when the plane knows. */
  reset(): Promise<void>;
  /** TCP: both sides end it in good order. Resolves when the plane knows. */
  finish(): Promise<void>;
};

/** A data plane with clients and real servers around it. */
export type Rig = {
  readonly plane: DataPlane;
  /** What the plane keeps of a TCP connection that has ended. */
  readonly afterEnd: 'an inactive entry' | 'nothing';
  /** The entry of a connection that ended counts while the next one from the same place is scheduled; absent: it does not. */
  readonly endedCounts?: true;
  /** What becomes of the connections of a destination that is deleted. */
  readonly afterDelete: 'kept' | 'reset';
  /** A lifetime of templates that a test can wait for, longer than `forget` takes. */
  readonly templateSeconds: number;
  /** Counters are as they were so long ago; absent: as they are. */
  readonly countersLateSeconds?: number;
  /** A virtual service that was not there before. */
  service(family: Family, transport: Transport): Promise<AddressServiceId>;
  /** A real server that was not there before. */
  realServer(family: Family, transport: Transport): Promise<DestinationId>;
  /** One of many addresses of clients. */
  client(family: Family, n: number): Address;
  /** A client opens a connection, or sends its first datagram; undefined: nobody takes it. */
  open(id: AddressServiceId, client: DestinationId): Promise<Conversation | undefined>;
  /** Lets so many seconds pass. */
  wait(seconds: number): Promise<void>;
  /** A connection's entry goes: reset by the client, and its time is up. */
  forget(conversation: Conversation): Promise<void>;
  close(): Promise<void>;
};

/** One plane in the suite. */
export type Subject = {
  readonly name: string;
  /** Rules that do not hold for it, each with the reason. The suite fails when one of them holds after all. */
  readonly deviations: Partial<Record<RuleName, string>>;
  /** Random steps for each scheduler; a plane with real sockets takes longer for one. */
  readonly steps: number;
  start(): Promise<Rig>;
};
