import { gather } from '../../model/connection-batches.ts';
import type { SyncedConnection } from '../../model/connection-sync.ts';
import type { Moved } from '../../model/move.ts';
import { plan as planTable } from '../../model/plan.ts';
import { serviceKey } from '../../model/service-id.ts';
import type { Operation } from '../../model/table.ts';
import { ended, travelKey, traveller } from '../../model/travel.ts';
import { openDelivery } from '../ipvs/deliver.ts';
import { entriesOf, sysctlsThatDiffer, type View } from './look.ts';
import type { BothPlanes } from './planes.ts';
import { applyAll, slotsAtOnce } from './to-ebpf.ts';

/** Times that IPVS is told again of what it has not taken. */
const mostTries = 5;

/**
 * From ebpf to IPVS, which sees nothing of the virtual services as long as ours is there. Its table is made first and it is told
 * of the connections; then ours stands back: new connections are IPVS's, ours goes on with those it has. It is told of what
 * came meanwhile, and ours is taken off the interfaces. Rejects with a HeadgateError; everything is then as it was.
 */
export async function moveToIpvs(planes: BothPlanes, { plan, kernel, own }: View): Promise<Moved> {
  const { ipvs } = planes;
  const wasInUse = planes.usesIpvs();
  // A move that was cut off while ours stood back: it may know less than IPVS, which has the rules.
  const isBehind = planes.standsBack();
  const daemons = await planes.ownSync.syncDaemons();
  let teller: Awaited<ReturnType<typeof tellerOf>> | undefined;
  try {
    const steps = planTable({ services: entriesOf(own) }, { services: entriesOf(kernel) }).filter(
      ({ kind }) => kind !== 'delete-service',
    );
    if (!isBehind)
      await applyAll(ipvs, [
        { kind: 'set-timeouts', timeouts: own.timeouts },
        { kind: 'set-sysctls', sysctls: sysctlsThatDiffer(own, kernel) },
        ...steps,
      ]);
    teller = await tellerOf(planes);
    const carried = await teller.tell();
    await teller.tell();
    teller.tellOfEnds();
    // Else answers that IPVS's connections wait for would be refused by ours, which does not know them.
    if (own.sysctls?.nat_icmp_send)
      await applyAll(planes.ebpf, [{ kind: 'set-sysctls', sysctls: { nat_icmp_send: 0 } }]);
    const from = performance.now();
    planes.standBack(true);
    await planes.arrange();
    const late = await teller.tell();
    const refused = await teller.missing();
    teller.close();
    await planes.removeEbpf();
    const windowMs = Math.round((performance.now() - from) * 10) / 10;
    for (const { progress, digest: _, ...settings } of daemons)
      if (!progress?.encrypted) await ipvs.startSync?.(settings);
    return { ...plan, done: true, carried, late, refused, windowMs };
  } catch (error) {
    teller?.close();
    if (planes.hasEbpf() && !isBehind) await takeBack(planes, { kernel, own }, wasInUse);
    throw error;
  }
}

/** Ours goes on, and the kernel's table is without what was made of it. */
async function takeBack(
  planes: BothPlanes,
  { kernel, own }: Pick<View, 'kernel' | 'own'>,
  wasInUse: boolean,
): Promise<void> {
  planes.standBack(false);
  await planes.arrange();
  if (own.sysctls) await planes.ebpf.apply([{ kind: 'set-sysctls', sysctls: own.sysctls }]);
  const before = new Set(kernel.services.map(({ service }) => serviceKey(service.id)));
  const made = own.services.filter(({ service }) => !before.has(serviceKey(service.id)));
  await planes.ipvs.apply([
    ...made.map(({ service: { id } }): Operation => ({ kind: 'delete-service', id })),
    { kind: 'set-timeouts', timeouts: kernel.timeouts },
    { kind: 'set-sysctls', sysctls: sysctlsThatDiffer(kernel, own) },
  ]);
  if (!wasInUse) planes.forgetIpvs();
}

/** Tells IPVS of our connections: of each when it is new to it and when its state has changed. */
async function tellerOf(planes: BothPlanes) {
  const feed = planes.openFeed();
  const entries = entriesOf(await planes.ipvs.read({ counters: false }));
  const fateOf = traveller(entries, { helpedPorts: [] });
  const told = new Map<string, SyncedConnection>();
  const delivery = (() => {
    try {
      return openDelivery();
    } catch (error) {
      feed.close();
      throw error;
    }
  })();
  let isOpen = true;

  function ours(): Map<string, SyncedConnection> {
    const all = new Map<string, SyncedConnection>();
    while (!feed.walk(slotsAtOnce, true, (one) => all.set(travelKey(one), one)));
    return all;
  }

  /** What the kernel has not of what it was told. */
  async function absent(): Promise<SyncedConnection[]> {
    const there = new Set<string>();
    for (const connection of await gather(planes.ipvs.connections())) {
      const fate = fateOf(connection);
      if ('told' in fate) there.add(travelKey(fate.told));
    }
    const now = ours();
    return [...told].flatMap(([key, one]) => (there.has(key) || !now.has(key) ? [] : [one]));
  }

  return {
    /** How many were new. */
    async tell(): Promise<number> {
      const fresh: SyncedConnection[] = [];
      let added = 0;
      for (const [key, one] of ours()) {
        const last = told.get(key);
        if (last && last.state === one.state && last.flags === one.flags) continue;
        if (!last) added++;
        told.set(key, one);
        fresh.push(one);
      }
      delivery.tell(fresh);
      for (let attempt = 1; attempt <= mostTries; attempt++) {
        const again = await absent();
        if (again.length === 0) break;
        delivery.tell(again);
      }
      return added;
    },
    /** What has ended here since it was told of ends there. Only as long as nothing of it can have come about there. */
    tellOfEnds(): void {
      const now = ours();
      const gone = [...told].filter(([key]) => !now.has(key));
      delivery.tell(gone.map(([, one]) => ended(one)));
      for (const [key] of gone) told.delete(key);
    },
    missing: async () => (await absent()).length,
    close(): void {
      if (!isOpen) return;
      isOpen = false;
      feed.close();
      delivery.close();
    },
  };
}
