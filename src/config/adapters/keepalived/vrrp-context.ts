import type { Value } from './blocks.ts';
import type { Globals } from './globals.ts';
import type { Scope } from './scope.ts';
import type { TrackedThing, TrackerKeyword } from './vrrp-things.ts';

/** What instances and groups of VRRP share. */
export type VrrpContext = Scope & {
  readonly globals: Globals;
  readonly scripts: ReadonlyMap<string, TrackedThing>;
  readonly numberFiles: ReadonlyMap<string, TrackedThing>;
  readonly processes: ReadonlyMap<string, TrackedThing>;
  /** What groups track, by the names of their members: all of these have it. */
  readonly groupTrackers: ReadonlyMap<
    string,
    readonly { readonly keyword: TrackerKeyword; readonly value: Value }[]
  >;
  /** The names of instances so far, as they stand, with those they have here; and the virtual routers. */
  readonly instances: Map<string, string>;
  readonly routers: Set<string>;
};
