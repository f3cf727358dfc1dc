import type { DataPlane } from '../dataplane/data-plane.ts';
import type { Health } from '../model/health.ts';
import type { Override } from '../model/override.ts';

/**
 * The one writer's view of this network namespace: the data plane, held under the instance's lock until `close`.
 * A command opens it embedded (this file); with a daemon running it is opened over the control socket instead,
 * behind the same type.
 */
export type Controller = Pick<
  DataPlane,
  | 'capabilities'
  | 'directory'
  | 'getReady'
  | 'read'
  | 'apply'
  | 'connections'
  | 'connectionCounts'
  | 'totals'
  | 'outlook'
  | 'survey'
  | 'startSync'
  | 'stopSync'
  | 'syncDaemons'
  | 'close'
> & {
  /** What people have decided, where a daemon keeps it; absent: it is in the state directory. */
  overrides?(): Promise<readonly Override[]>;
  /**
   * What checks have found, where a daemon checks, of all services or of these (by serviceKey); absent: what was found last is
   * beside the plane.
   */
  health?(services?: ReadonlySet<string>): Promise<Health>;
};

/** What only the process that holds the lock can do. */
export type OwnController = Controller &
  Pick<DataPlane, 'activity' | 'outcomes' | 'interfacesChanged' | 'cover' | 'leases' | 'cleanUp'>;
