import type { SyncedConnection } from './connection-sync.ts';

/** What a plane tells of, and when. */
export type FeedRule = {
  /** Every connection, or those that IPVS's packet rule picks (sync_threshold). */
  readonly packets: { readonly threshold: number; readonly period: number } | 'all';
  /**
   * A connection in use is told of again after this time, or half its lifetime where that is less, and ten seconds where that is
   * more (sync_refresh_period); absent: after a quarter of its lifetime.
   */
  readonly refreshSeconds?: number;
  /** With `refreshSeconds`: how often it is told of once more, an eighth of that after the last time (sync_retries). */
  readonly retries?: number;
  /** What a template rules is left out (sync_persist_mode). */
  readonly withoutRuled?: boolean;
  /** Connections of full NAT are told too, with their local ends: to nobody but directors of ours. */
  readonly localEnds?: boolean;
};

/** What became of a connection that another director told of. */
export type Entered = 'bound' | 'unbound' | 'refused';

/** Takes a connection that is to be told of; `place` is where it stands in the table. */
export type TakeConnection = (connection: SyncedConnection, place: number) => void;

/** A plane's connections for other directors, and theirs for it. One reader at a time. */
export type ConnectionFeed = {
  /** For a poller: readable when connections are to be told of. */
  readonly fd: number;
  /** From here on the plane says what is to be told; again with another rule. */
  begin(rule: FeedRule): void;
  /** Hands over what is to be told, each connection once, as it is now. Returns how many. */
  drain(take: TakeConnection): number;
  /** Hands over the connections at these places, as they are now. */
  again(places: readonly number[], take: TakeConnection): void;
  /**
   * Goes on through the table, `slots` of it; at its end it starts over and returns true. Hands over every connection
   * (`everything`), or those that were used since they were told and for which it is time again; asked for the other it
   * starts at the beginning.
   */
  walk(slots: number, everything: boolean, take: TakeConnection): boolean;
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
