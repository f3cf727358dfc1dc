import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeServiceKey } from '../../src/dataplane/ebpf/encoding.ts';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import type { TableMaps } from '../../src/dataplane/ebpf/table-maps.ts';
import { openTables } from '../../src/dataplane/ebpf/tables.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { Destination, VirtualService } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { type Harness, openHarness } from './harness.ts';

const service: VirtualService = {
  id: { kind: 'address', protocol: 'tcp', address: parseAddress('198.51.100.77')!, port: 80 },
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
};
const destinationAt = (last: number): Destination => ({
  address: parseAddress(`10.1.0.${last}`)!,
  port: 80,
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
});

requires(
  'root',
  'netns',
  'bpf',
)('a table that a killed command left half way', () => {
  let harness: Harness;
  let maps: TableMaps;
  const opened: { close(): void }[] = [];
  beforeAll(async () => {
    harness = await openHarness('halfway');
    const { map, settings, runtime } = harness.instance;
    const keep = <Item extends { close(): void }>(item: Item): Item => {
      opened.push(item);
      return item;
    };
    maps = {
      settings,
      runtime,
      services: keep(mapRecords(map('services'), 'service')),
      destinations: keep(mapRecords(map('destinations'), 'destination')) as Records<'destination'>,
      hashTables: keep(mapRecords(map('hash_tables'), 'hash_table')),
      destinationEstimates: keep(mapRecords(map('destination_estimates'), 'estimate')),
      destinationBaselines: keep(mapRecords(map('destination_baselines'), 'counters')),
      serviceBaselines: keep(mapRecords(map('service_baselines'), 'counters')),
      destinationCounters: map('destination_counters'),
      serviceIndex: map('service_index'),
      localAddresses: map('local_addresses'),
    };
  });
  afterAll(async () => {
    for (const item of opened) item.close();
    await harness?.close();
  });

  it('is whole again when the next command opens it', () => {
    const { id } = service;
    const first = openTables(maps);
    first.apply({ kind: 'add-service', service });
    for (const last of [11, 12, 13]) {
      first.apply({ kind: 'add-destination', id, destination: destinationAt(last) });
    }
    first.finish();
    const listed = [...first.listed.values()].at(-1)!;
    const newest = [...listed.destinations.values()].at(-1)!;

    // Killed while it deleted the newest: out of the list, but still marked as there.
    maps.services.set(listed.slot, 'first', maps.destinations.get(newest.slot, 'next'));
    const second = openTables(maps);
    const after = [...second.listed.values()].at(-1)!;
    expect([...after.destinations.keys()]).toEqual(['10.1.0.11:80', '10.1.0.12:80']);
    expect(maps.destinations.get(newest.slot, 'flags')).toBe(numbers.destination_flag.DESTINATION_USED);
    expect(second.apply({ kind: 'add-destination', id, destination: destinationAt(13) })).toBeUndefined();
    second.finish();
    expect(maps.services.get(listed.slot, 'first')).toBe(newest.slot);

    // Killed while it added a service: listed, but no packet finds it.
    const other: VirtualService = {
      ...service,
      id: { ...id, kind: 'address', port: 81 } as VirtualService['id'],
    };
    second.apply({ kind: 'add-service', service: other });
    second.finish();
    maps.serviceIndex.delete(encodeServiceKey(other.id));
    const third = openTables(maps);
    const slot = [...third.listed.values()].at(-1)!.slot;
    expect(maps.serviceIndex.lookup(encodeServiceKey(other.id))?.readUInt32LE(0)).toBe(slot);
  });
});
