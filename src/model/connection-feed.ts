import type { SyncedConnection } from './connection-sync.ts';

/** What a plane puts into the feed: every connection, or those that IPVS's packet rule picks (sync_threshold). */
export type FeedRule = { readonly threshold: number; readonly period: number } | 'all';

/** What became of a connection that another director told of. */
export type Entered = 'bound' | 'unbound' | 'refused';

/** A plane's connections for other directors, and theirs for it. One reader at a time. */
export type ConnectionFeed = {
  /** For a poller: readable when connections are to be told of. */
  readonly fd: number;
  /** From here on the plane says what is to be told. */
  begin(rule: FeedRule): void;
  /** Hands over what is to be told, each connection once, as it is now. Returns how many. */
  drain(take: (connection: SyncedConnection) => void): number;
  /**
   * Goes on through the table, `slots` of it; at its end it starts over and returns true. Hands over every connection
   * (`everything`), or those that were used since they were told and for which it is time again; asked for the other it
   * starts at the beginning.
   */
  walk(slots: number, everything: boolean, take: (connection: SyncedConnection) => void): boolean;
  /** How many connections the plane could not put into the feed so far: only a walk finds them. */
  lost(): number;
  /** Enters a connection that another director told of. */
  enter(connection: SyncedConnection): Entered;
  /** Whether destinations have come since the last call, so that a connection without one may find it. */
  destinationsCame(): boolean;
  /** Whether the plane is still there, and the same. */
  isCurrent(): boolean;
  /** The plane stops saying what is to be told. */
  end(): void;
  close(): void;
};
