import { openIpvsPlane } from '../dataplane/ipvs/plane.ts';
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
