import type { DataPlane } from '../dataplane/data-plane.ts';
import { openHostFeed } from '../dataplane/ebpf/host-feed.ts';
import { syncProcesses as processesOf, startProcess } from '../dataplane/ebpf/sync-processes.ts';
import type { ConnectionFeed } from '../model/connection-feed.ts';
import type { SyncOrder } from '../model/connection-sync.ts';
import type { SyncSysctls } from '../model/sysctls.ts';

/** The connections of this network namespace's data plane, and what only whoever serves them needs. */
export type OpenFeed = ConnectionFeed & {
  /** Connections the table can hold. */
  slots(): number;
  /** Whether there is a plane, be it another one. */
  isThere(): boolean;
  /** The parameters of connection sync as they are now. */
  sysctls(): SyncSysctls;
};

/** Opens the feed of this network namespace's plane without its lock; undefined where there is none of this build's layout. */
export const openFeed = (): OpenFeed | undefined => openHostFeed();

/** A process like this one, as what is installed now has it. */
export const startSyncAgain = async (order: SyncOrder): Promise<void> => {
  await startProcess(order);
};

/** The sync processes of the plane that keeps its things in `directory`. */
export const syncProcesses = (directory: string): SyncMethods => processesOf(directory);

/** The sync daemons of the kernel's IPVS in this network namespace, beside whoever has the plane. */
export function kernelSync(directory: string): SyncMethods {
  const inPlane = async <T>(work: (plane: DataPlane) => Promise<T>): Promise<T> => {
    const { openIpvsPlane } = await import('../dataplane/ipvs/plane.ts');
    const plane = openIpvsPlane({ directory });
    try {
      return await work(plane);
    } finally {
      await plane.close();
    }
  };
  return {
    startSync: (settings) => inPlane((plane) => plane.startSync!(settings)),
    stopSync: (role) => inPlane((plane) => plane.stopSync!(role)),
    syncDaemons: () => inPlane((plane) => plane.syncDaemons!()),
  };
}

/** What a plane with connection sync can do. */
export type SyncMethods = Required<Pick<DataPlane, 'startSync' | 'stopSync' | 'syncDaemons'>>;
