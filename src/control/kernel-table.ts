import type { DataPlane } from '../dataplane/data-plane.ts';
import { openIpvsPlane } from '../dataplane/ipvs/plane.ts';
import { kernelTraveller } from '../dataplane/move/look.ts';
import { gather } from '../model/connection-batches.ts';
import type { SyncDaemon } from '../model/connection-sync.ts';
import type { Observed } from '../model/table.ts';
import { type Told, tellAll } from '../model/travel.ts';

/** Works on the kernel's own table. Where there is none it is the table that is missing, not a data plane. */
async function withKernelTable<T>(work: (plane: DataPlane) => Promise<T>): Promise<T> {
  const plane = openIpvsPlane({
    purpose: {
      action: 'read the table of the kernel',
      hint: 'run it on the host whose table is meant; there "modprobe ip_vs" loads what this kernel lacks',
    },
  });
  try {
    return await work(plane);
  } finally {
    await plane.close();
  }
}

/**
 * The table of the kernel's IPVS in this network namespace, whichever data plane is in use and whoever made it. Changes
 * nothing, and waits for nobody. Rejects with HG_IPVS, HG_NOT_ROOT.
 */
export const readKernelTable = (): Promise<Observed> => withKernelTable((plane) => plane.read());

/** Its connections as directors tell each other of them, in the same way. */
export const readKernelConnections = (): Promise<Told> =>
  withKernelTable(async (plane) => {
    const listed = await gather(plane.connections());
    return tellAll(listed, kernelTraveller(await plane.read({ counters: false })));
  });

/** Its sync daemon that tells, if one runs. */
export const kernelMaster = (): Promise<SyncDaemon | undefined> =>
  withKernelTable(async (plane) => (await plane.syncDaemons!()).find(({ role }) => role === 'master'));
