import type { Scope } from './scope.ts';
import type { Timing } from './timing.ts';

/** What a checker is told by what stands around it. */
export type CheckerContext = Scope & {
  /** What real server and virtual server say, the real server first. */
  readonly timings: readonly Timing[];
  readonly virtualHost: string | undefined;
  /** The port of the real server. */
  readonly port: number;
  readonly certificates: Certificates;
};

/** What `SSL {}` says: files of the client’s certificate, its key and its password. */
export type Certificates = { certificate?: string; key?: string; password?: string };
