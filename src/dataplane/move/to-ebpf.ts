import { gather } from '../../model/connection-batches.ts';
import type { SyncedConnection } from '../../model/connection-sync.ts';
import { HeadgateError } from '../../model/errors.ts';
import type { Moved } from '../../model/move.ts';
import { plan as planTable } from '../../model/plan.ts';
import { serviceKey } from '../../model/service-id.ts';
import type { Operation } from '../../model/table.ts';
import { ended, travelKey } from '../../model/travel.ts';
import type { DataPlane } from '../data-plane.ts';
import { deliveryDevice, openDelivery } from '../ipvs/deliver.ts';
import {
  entriesOf,
  ftpPortsThatDiffer,
  keepsItsService,
  kernelTraveller,
  sysctlsThatDiffer,
  type View,
} from './look.ts';
import type { BothPlanes } from './planes.ts';

/** Looks at the kernel's connections before the switch end when one has found no more new ones than this, or after so many. */
const [fewNew, mostLooks] = [16, 6];
export const slotsAtOnce = 1 << 16;

/**
 * From IPVS to ebpf. Ours is put on the interfaces ahead of IPVS and stands back: what it has no connection for goes on to
 * IPVS, which goes on scheduling. Once it knows IPVS's connections it stops standing back; from that moment new ones are its
 * own. What IPVS scheduled since it was last looked at is fetched, and IPVS's table is emptied. Rejects with a HeadgateError;
 * before the switch everything is then as it was.
 */
export async function moveToEbpf(planes: BothPlanes, { plan, kernel, own }: View): Promise<Moved> {
  const { ipvs, ebpf } = planes;
  const isFresh = !planes.hasEbpf();
  const isBehind = isFresh || planes.standsBack();
  const wasInUse = planes.usesIpvs();
  let carrier: ReturnType<typeof carrierTo> | undefined;
  try {
    planes.noteIpvs();
    if (isBehind) {
      const desired = { services: entriesOf(kernel) };
      const steps = planTable(desired, { services: entriesOf(own) }).filter(
        ({ kind }) => kind !== 'delete-service',
      );
      await applyAll(ebpf, [{ kind: 'set-timeouts', timeouts: kernel.timeouts }, ...steps]);
      await planes.arrange();
    }
    carrier = carrierTo(planes, kernelTraveller(kernel));
    let carried = 0;
    for (let look = 1; ; look++) {
      const found = await carrier.look();
      carried += found;
      if (found <= fewNew || look === mostLooks) break;
    }
    const from = performance.now();
    planes.standBack(false);
    let late = await carrier.look();
    const windowMs = Math.round((performance.now() - from) * 10) / 10;
    // Until now marked packets went to IPVS alone.
    await planes.arrange();
    late += await carrier.look();
    const sysctls = { ...sysctlsThatDiffer(kernel, own), ...ftpPortsThatDiffer(kernel, own) };
    if (isBehind) await ebpf.apply([{ kind: 'set-sysctls', sysctls }]);
    const daemons = ((await ipvs.syncDaemons?.()) ?? []).filter((one) => one.interface !== deliveryDevice);
    for (const { role } of daemons) await ipvs.stopSync?.(role);
    forget(carrier.told());
    await emptyKernel(planes, carrier.staying);
    planes.forgetIpvs();
    for (const { progress: _, digest: __, ...settings } of daemons) await planes.ownSync.startSync(settings);
    return { ...plan, done: true, carried, late, refused: carrier.refused(), windowMs };
  } catch (error) {
    const isUndone = isFresh && (!planes.hasEbpf() || planes.standsBack());
    if (isUndone) await planes.removeEbpf();
    if (isUndone && !wasInUse) planes.forgetIpvs();
    throw error;
  } finally {
    carrier?.close();
  }
}

/** Applies operations; the first that is refused is an error. */
export async function applyAll(plane: DataPlane, operations: readonly Operation[]): Promise<void> {
  const refusals = await plane.apply(operations);
  const at = refusals.findIndex((refusal) => refusal !== undefined);
  if (at < 0) return;
  throw new HeadgateError(
    'HG_MOVE',
    `Cannot move: ${plane.capabilities.name} refuses to ${operations[at]!.kind.replace('-', ' ')}: ${refusals[at]!.detail}`,
  );
}

/** Carries connections from the kernel's list into our table, each once: what has ended here since is still listed there. */
function carrierTo({ openFeed, ipvs }: BothPlanes, fateOf: ReturnType<typeof kernelTraveller>) {
  const feed = openFeed();
  const told = new Map<string, SyncedConnection>();
  const refused = new Set<string>();
  /** Keys of services that IPVS has to keep for the sake of connections. */
  const staying = new Set<string>();
  return {
    staying,
    /** How many were new. */
    async look(): Promise<number> {
      const present = new Set<string>();
      while (!feed.walk(slotsAtOnce, true, (one) => present.add(travelKey(one))));
      let entered = 0;
      for (const connection of await gather(ipvs.connections())) {
        const fate = fateOf(connection);
        if ('stays' in fate) {
          if (fate.service && keepsItsService(fate.stays)) staying.add(serviceKey(fate.service));
          continue;
        }
        const key = travelKey(fate.told);
        if (told.has(key) || refused.has(key)) continue;
        // Ours knows it better, whether it was carried before or came about here.
        if (!present.has(key)) {
          if (feed.enter(fate.told) === 'refused') {
            refused.add(key);
            staying.add(serviceKey(fate.service));
            continue;
          }
          entered++;
        }
        told.set(key, fate.told);
      }
      return entered;
    },
    told: () => [...told.values()],
    refused: () => refused.size,
    close: () => feed.close(),
  };
}

/** The kernel lets go of what it does not forward any more. */
function forget(connections: readonly SyncedConnection[]): void {
  if (connections.length === 0) return;
  let delivery: ReturnType<typeof openDelivery>;
  try {
    delivery = openDelivery();
  } catch (error) {
    // They expire there by themselves.
    if (error instanceof HeadgateError) return;
    throw error;
  }
  delivery.tell(connections.map(ended));
  delivery.close();
}

/** Services for which IPVS still has something to do stay. */
async function emptyKernel({ ipvs }: BothPlanes, staying: ReadonlySet<string>): Promise<void> {
  const services = entriesOf(await ipvs.read({ counters: false }));
  await ipvs.apply(
    services
      .filter((entry) => !staying.has(serviceKey(entry.service.id)))
      .map(({ service: { id } }): Operation => ({ kind: 'delete-service', id })),
  );
}
