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
  | 'lock'
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

/** A controller with other members in place of some; the rest are those that it has at the moment they are asked for. */
export const over = <C extends Controller>(controller: C, members: Partial<C>): C =>
  Object.create(controller, Object.getOwnPropertyDescriptors(members)) as C;

const memberNames: Readonly<Record<keyof OwnController, true>> = {
  ...{ capabilities: true, directory: true, lock: true, getReady: true, read: true, apply: true },
  ...{
    connections: true,
    connectionCounts: true,
    totals: true,
    outlook: true,
    survey: true,
    activity: true,
    outcomes: true,
  },
  ...{ startSync: true, stopSync: true, syncDaemons: true, overrides: true, health: true, leases: true },
  ...{ interfacesChanged: true, cover: true, close: true, cleanUp: true },
};

/** A controller that stays while the plane under it becomes another one. */
export type Exchangeable = {
  readonly controller: OwnController;
  /** From here on it is `next`; returns the one before, which is still open. */
  exchange(next: OwnController): OwnController;
};

/** Whoever keeps the controller asks for its members when they are needed: a later plane may have others. */
export function exchangeable(first: OwnController): Exchangeable {
  let current = first;
  const members = Object.keys(memberNames).map((name) => [
    name,
    { get: () => current[name as keyof OwnController], enumerable: true },
  ]);
  return {
    controller: Object.create(null, Object.fromEntries(members)) as OwnController,
    exchange(next) {
      const before = current;
      current = next;
      return before;
    },
  };
}
