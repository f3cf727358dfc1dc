import type { Scope } from './scope.ts';
import type { Timing } from './timing.ts';

/** What a checker is told by what stands around it. */
export type CheckerContext = Scope & {
  /** What real server and virtual server say, the real server first. */
  readonly timings: readonly Timing[];
  readonly virtualHost: string | undefined;
  /** The port of the real server. */
  readonly port: number;
  /** Where checkers go unless they say otherwise; 0: nobody says. */
  readonly checkPort: number;
  /** Whether a check has to name its port: neither the real server nor the service does. */
  readonly needsPort: boolean;
  /** The weight of the real server. */
  readonly weight: number;
  readonly certificates: Certificates;
  readonly trackFiles: ReadonlyMap<string, TrackFile>;
  /** Whom scripts run as that name nobody: user and group. */
  readonly scriptUser: readonly string[] | undefined;
};

/** What `SSL {}` says: files of the client’s certificate, its key and its password. */
export type Certificates = { certificate?: string; key?: string; password?: string };

/** A block `track_file`. */
export type TrackFile = { readonly path: string; readonly weight: number };
