import { expect } from 'vitest';
import type { AddressServiceId } from '../../src/model/virtual-service.ts';
import {
  addDestination,
  change,
  counts,
  deleteDestination,
  destination,
  editDestination,
  shown,
  virtualService,
} from './operations.ts';
import { type Check, counted, ended, mustOpen, site } from './site.ts';

/** What a table shows, refuses and counts. */
export const tableRules = {
  'what the kernel refuses is refused for the same reason, and changes nothing': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const stranger = await rig.realServer(family, 'tcp');
    const other: AddressServiceId = { ...id, port: id.port ^ 0x4000 };
    const before = (await rig.plane.read()).services.map(({ service, destinations }) => ({
      service,
      destinations: destinations.map((one) => one.destination),
    }));
    const refusals = await rig.plane.apply([
      { kind: 'add-service', service: virtualService(id) },
      { kind: 'edit-service', service: virtualService(other) },
      { kind: 'delete-service', id: other },
      addDestination(id, servers[0]!),
      addDestination(other, servers[0]!),
      editDestination(id, stranger),
      deleteDestination(id, stranger),
      addDestination(id, stranger, { weight: -1 }),
      addDestination(id, stranger, { upperThreshold: 1, lowerThreshold: 2 }),
      { kind: 'zero', id: other },
    ]);
    expect(refusals.map((refusal) => refusal?.reason)).toEqual([
      'service-exists',
      'no-such-service',
      'no-such-service',
      'destination-exists',
      'no-such-service',
      'no-such-destination',
      'no-such-destination',
      'out-of-range',
      'out-of-range',
      'no-such-service',
    ]);
    const after = (await rig.plane.read()).services.map(({ service, destinations }) => ({
      service,
      destinations: destinations.map((one) => one.destination),
    }));
    expect(after).toEqual(before);
  },

  'rules are shown as they were given, in the order they came': async (rig, family) => {
    const { id, servers } = await site(rig, family, 3, { scheduler: 'wlc' });
    await change(
      rig,
      editDestination(id, servers[1]!, { weight: 7, upperThreshold: 9, lowerThreshold: 2 }),
      deleteDestination(id, servers[0]!),
      addDestination(id, servers[0]!, { weight: 3 }),
      { kind: 'set-timeouts', timeouts: { tcp: 901, udp: 301 } },
      { kind: 'edit-service', service: virtualService(id, { scheduler: 'sh', schedulerFlags: bothFlags }) },
    );
    const found = await shown(rig, id);
    expect(found.service).toEqual(virtualService(id, { scheduler: 'sh', schedulerFlags: bothFlags }));
    expect(found.destinations.map((one) => one.destination)).toEqual([
      destination(servers[1]!, { weight: 7, upperThreshold: 9, lowerThreshold: 2 }),
      destination(servers[2]!),
      destination(servers[0]!, { weight: 3 }),
    ]);
    expect((await rig.plane.read()).timeouts).toMatchObject({ tcp: 901, udp: 301 });
  },

  'a connection is counted from its first packet to its end': async (rig, family) => {
    const { id } = await site(rig, family, 1);
    const [first, second] = [await mustOpen(rig, id, family), await mustOpen(rig, id, family)];
    expect(await counts(rig, id)).toEqual([[2, 0]]);
    await first.reset();
    expect(await counts(rig, id)).toEqual([[1, ended(rig, 1)]]);
    await second.finish();
    expect(await counts(rig, id)).toEqual([[0, ended(rig, 2)]]);
    const { counters, destinations } = await counted(rig, id);
    for (const found of [counters, destinations[0]!.counters]) {
      expect(found.connections).toBe(2n);
      expect(found.packetsOut).toBeGreaterThan(0n);
      expect(found.bytesOut).toBeGreaterThan(0n);
    }
  },

  'zero clears counters and nothing else': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const conversation = await mustOpen(rig, id, family);
    expect((await counted(rig, id)).counters.connections).toBe(1n);
    await change(rig, { kind: 'zero', id });
    const { counters, destinations } = await counted(rig, id);
    for (const found of [counters, destinations[0]!.counters]) expect(found.connections).toBe(0n);
    expect(await counts(rig, id)).toEqual([[1, 0]]);
    expect(await conversation.say()).toEqual(servers[0]);
  },

  'a service that is added again counts from zero': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    await mustOpen(rig, id, family);
    expect((await counted(rig, id)).destinations[0]!.counters.connections).toBe(1n);
    await change(
      rig,
      { kind: 'delete-service', id },
      { kind: 'add-service', service: virtualService(id) },
      addDestination(id, servers[0]!),
    );
    const { counters, destinations } = await counted(rig, id);
    for (const found of [counters, destinations[0]!.counters]) expect(found.connections).toBe(0n);
  },
} as const satisfies Record<string, Check>;

const bothFlags = { flag1: true, flag2: true, flag3: false };
