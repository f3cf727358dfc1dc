import { openIpvsPlane } from '../dataplane/ipvs/plane.ts';
import { kernelTraveller } from '../dataplane/move/look.ts';
import type { SyncDaemon } from '../model/connection-sync.ts';
import type { Observed } from '../model/table.ts';
import { type Told, tellAll } from '../model/travel.ts';

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
    return tellAll(listed, kernelTraveller(await plane.read({ counters: false })));
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
