import { openIpvsPlane } from '../dataplane/ipvs/plane.ts';
import { type Told, toldOf } from '../dataplane/ipvs/told.ts';
import type { SyncDaemon } from '../model/connection-sync.ts';
import type { Observed } from '../model/table.ts';

/**
 * The table of the kernel's IPVS in this network namespace, whichever data plane is in use and whoever made it. Changes
 * nothing, and waits for nobody. Rejects with HG_IPVS, HG_NOT_ROOT.
 */
export async function readKernelTable(): Promise<Observed> {
  const plane = openIpvsPlane();
  try {
    return await plane.read();
  } finally {
    await plane.close();
  }
}

/** Its connections as directors tell each other of them, in the same way. */
export async function readKernelConnections(): Promise<Told> {
  const plane = openIpvsPlane();
  try {
    const listed = await plane.connections();
    const { services } = await plane.read();
    return toldOf(
      listed,
      services.map(({ service, destinations }) => ({
        service,
        destinations: destinations.map(({ destination }) => destination),
      })),
    );
  } finally {
    await plane.close();
  }
}

/** Its sync daemon that tells, if one runs. */
export async function kernelMaster(): Promise<SyncDaemon | undefined> {
  const plane = openIpvsPlane();
  try {
    return (await plane.syncDaemons!()).find(({ role }) => role === 'master');
  } finally {
    await plane.close();
  }
}
