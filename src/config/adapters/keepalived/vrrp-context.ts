import type { Globals } from './globals.ts';
import type { Scope } from './scope.ts';
import type { VrrpScript } from './vrrp-script.ts';

/** What instances and groups of VRRP share. */
export type VrrpContext = Scope & {
  readonly globals: Globals;
  readonly scripts: ReadonlyMap<string, VrrpScript>;
  /** The names of instances so far, as they stand, with those they have here; and the virtual routers. */
  readonly instances: Map<string, string>;
  readonly routers: Set<string>;
};
