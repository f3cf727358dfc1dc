import type { Operation } from '../../model/table.ts';
import type { ServiceId } from '../../model/virtual-service.ts';

/** How a listing looks; where several formats are asked for, the first of this order wins. */
export const listFormats = ['stats', 'rate', 'thresholds', 'persistent-conn', 'tun-info', 'default'] as const;
export type ListFormat = (typeof listFormats)[number];

export type ListOptions = {
  readonly format: ListFormat;
  /** Addresses and ports as numbers instead of names. */
  readonly numeric: boolean;
  /** Counters in full instead of rounded to K, M, G, T. */
  readonly exact: boolean;
  readonly sorted: boolean;
  /** `--persistent-conn` was given, whatever format won: connections show their persistence engine. */
  readonly engines: boolean;
};

/** Settings of a connection sync daemon; absent ones are the daemon's own defaults. */
export type SyncDaemon = {
  readonly role: 'master' | 'backup';
  readonly interface: string;
  readonly syncId: number;
  readonly maximumLength?: number;
  readonly group?: string;
  readonly port?: number;
  readonly ttl?: number;
};

/** A command line that passed every check. */
export type Command =
  | { readonly kind: 'change'; readonly operation: Operation }
  | {
      readonly kind: 'list';
      readonly what: 'table' | 'connections' | 'timeouts' | 'daemons';
      readonly options: ListOptions;
    }
  | { readonly kind: 'list'; readonly what: 'service'; readonly id: ServiceId; readonly options: ListOptions }
  | { readonly kind: 'save'; readonly numeric: boolean }
  | { readonly kind: 'restore' }
  | { readonly kind: 'start-daemon'; readonly daemon: SyncDaemon }
  | { readonly kind: 'stop-daemon'; readonly role: SyncDaemon['role'] }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' };
