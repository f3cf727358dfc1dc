import { expect } from 'vitest';
import {
  addDestination,
  change,
  counts,
  destination,
  editDestination,
  shown,
  virtualService,
} from './operations.ts';
import { type Check, counted, ended, mustOpen, site } from './site.ts';

/** Real servers that see the director in the place of their clients. */
export const fullNatRules = {
  'full NAT carries and counts connections as masquerading does': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const fullNat = { localAddresses: [], clientAddress: 'hidden' } as const;
    const before = await mustOpen(rig, id, family);
    await change(rig, editDestination(id, servers[0]!, { method: 'full-nat', fullNat }));
    expect((await shown(rig, id)).destinations.map((one) => one.destination)).toEqual([
      destination(servers[0]!, { method: 'full-nat', fullNat }),
    ]);
    expect(await before.say()).toEqual(servers[0]);
    const after = await mustOpen(rig, id, family);
    expect(after.server).toEqual(servers[0]);
    expect(await after.say()).toEqual(servers[0]);
    expect(await counts(rig, id)).toEqual([[2, 0]]);
    await after.finish();
    expect(await counts(rig, id)).toEqual([[1, ended(rig, 1)]]);
    await before.finish();
    expect((await counted(rig, id)).destinations[0]!.counters.packetsOut).toBeGreaterThan(0n);
  },

  'full NAT keeps a client’s datagrams together, and takes no one-packet service': async (rig, family) => {
    const { id } = await site(rig, family, 0, {}, 'udp');
    const server = await rig.realServer(family, 'udp');
    const fullNat = { localAddresses: [], clientAddress: 'hidden' } as const;
    await change(rig, addDestination(id, server, { method: 'full-nat', fullNat }));
    const datagrams = await mustOpen(rig, id, family);
    expect(await datagrams.say()).toEqual(server);
    expect(await counts(rig, id)).toEqual([[0, 1]]);
    const edit = { kind: 'edit-service', service: virtualService(id, { onePacket: true }) } as const;
    expect(await rig.plane.apply([edit])).toMatchObject([{ reason: 'invalid' }]);
  },
} as const satisfies Record<string, Check>;
