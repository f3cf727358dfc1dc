import { expect } from 'vitest';
import type { Address, Family } from '../../src/model/address.ts';
import { type ConnectionCount, countEach, gather } from '../../src/model/connection-batches.ts';
import { maskAddress } from '../../src/model/persistence.ts';
import type { Operation } from '../../src/model/table.ts';
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
import type { Rig } from './rig.ts';
import { type Check, mustOpen, newClient, open, sameServer, site } from './site.ts';

/** Clients that come back to their real server. */
export const persistenceRules = {
  'of the connections some clients can be asked for, and of templates their network': async (rig, family) => {
    const netmask = family === 4 ? 0xffffff00 : 64;
    const { id } = await site(rig, family, 2, { persistence: { timeoutSeconds: 300, netmask } });
    const clients = [10, 11, 12].map((n) => ({ address: rig.client(family, n), port: 2000 + n }));
    for (const client of clients) expect(await rig.open(id, client)).toBeDefined();
    const rows = async (...asked: Address[]) =>
      (await gather(rig.plane.connections({ clients: asked })))
        .filter((row) => sameServer(row.virtual, id))
        .map(({ client, template }) => (template ? 'template' : client.port))
        .sort();
    const [first, , third] = clients.map(({ address }) => address);
    expect(await rows(first!)).toEqual([2010]);
    expect(await rows(first!, third!, maskAddress(first!, netmask))).toEqual([2010, 2012, 'template']);
    expect(await rows(rig.client(family, 99))).toEqual([]);
    expect(await rows()).toEqual([]);
  },

  'connections that are counted by whom they are with and how they stand are those of the list': async (
    rig,
    family,
  ) => {
    const persistence = { timeoutSeconds: 300, netmask: family === 4 ? 0xffffffff : 128 };
    const sites = [await site(rig, family, 2, { persistence }), await site(rig, family, 2)];
    for (const { id } of sites)
      for (let n = 0; n < 6; n++) {
        const conversation = await mustOpen(rig, id, family);
        if (n === 3) await conversation.reset();
      }
    const counted = async (counts: AsyncIterable<ConnectionCount> | Iterable<ConnectionCount>) => {
      const found: Record<string, number> = {};
      for await (const { like, count } of counts) {
        const { protocol, virtual, destination, state, active, template } = like;
        const kind = JSON.stringify([protocol, virtual, destination, state, active, template]);
        found[kind] = (found[kind] ?? 0) + count;
      }
      return found;
    };
    const listed = await counted(countEach(rig.plane.connections()));
    expect(Object.keys(listed).length).toBeGreaterThan(4);
    const found = await rig.plane.connectionCounts?.();
    if (found) expect(await counted(found)).toEqual(listed);
  },

  'persistence keeps a client with its real server': async (rig, family) => {
    const { id } = await site(rig, family, 3, { persistence: persistence(family) });
    const { address } = newClient(rig, family);
    const found = new Set<string>();
    for (let n = 0; n < 6; n++) {
      const conversation = await rig.open(id, { address, port: 40_000 + n });
      found.add(`${conversation?.server.address} ${conversation?.server.port}`);
    }
    expect(found.size).toBe(1);
    expect(await templates(rig, id)).toEqual([0, 0, 0].with(await leader(rig, id), 1));
  },

  'a template is listed by its client and its service, and says whether a real server answered': async (
    rig,
    family,
  ) => {
    const { id, servers } = await site(rig, family, 1, { persistence: persistence(family, 100) });
    const { address } = newClient(rig, family);
    await rig.open(id, { address, port: 40_000 });
    const rows = (await gather(rig.plane.connections())).filter(
      (row) => row.template && sameServer(row.virtual, id),
    );
    expect(rows).toEqual([
      {
        protocol: 'tcp',
        client: { address, port: 0 },
        virtual: { address: id.address, port: id.port },
        destination: servers[0],
        state: 'ASSURED',
        active: false,
        template: true,
        expiresInMs: expect.closeTo(99_000, -4),
      },
    ]);
  },

  'a persistence netmask groups clients': async (rig, family) => {
    const { netmask, one, neighbour, stranger } = network(rig, family);
    const { id } = await site(rig, family, 2, { persistence: { timeoutSeconds: 300, netmask } });
    const ask = async (address: Address, port: number) => (await rig.open(id, { address, port }))!.server;
    const first = await ask(one, 40_000);
    const other = await ask(stranger, 40_000);
    expect(other).not.toEqual(first);
    for (let n = 1; n < 4; n++) {
      expect(await ask(neighbour, 40_000 + n)).toEqual(first);
      expect(await ask(stranger, 40_000 + n)).toEqual(other);
    }
    expect(await templates(rig, id)).toEqual([1, 1]);
  },

  'a template outlives its connections, until its time is up': async (rig, family) => {
    const lifetime = persistence(family, rig.templateSeconds);
    const { id } = await site(rig, family, 3, { persistence: lifetime });
    const { address } = newClient(rig, family);
    const ask = async (port: number) => (await rig.open(id, { address, port }))!;
    const first = await ask(40_000);
    await rig.forget(first);
    expect((await shown(rig, id)).destinations.map((one) => one.persistentConnections)).toContain(1);
    const again = await ask(40_001);
    expect(again.server).toEqual(first.server);
    await rig.forget(again);
    await rig.wait(rig.templateSeconds + 1.5);
    expect(await templates(rig, id)).toEqual([0, 0, 0]);
    expect((await ask(40_002)).server).not.toEqual(first.server);
  },

  'a drained real server keeps its persistent clients and gets no new ones': async (rig, family) => {
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const { address } = newClient(rig, family);
    const ask = async (port: number) => (await rig.open(id, { address, port }))?.server;
    const drained = (await ask(40_000))!;
    await change(rig, editDestination(id, drained, { weight: 0 }));
    for (let n = 1; n < 4; n++) {
      expect(await ask(40_000 + n)).toEqual(drained);
      expect((await mustOpen(rig, id, family)).server).not.toEqual(drained);
    }
  },

  'expire_quiescent_template sends the persistent clients of a drained real server elsewhere': async (
    rig,
    family,
  ) => {
    const set = (value: number): Operation => ({
      kind: 'set-sysctls',
      sysctls: { expire_quiescent_template: value },
    });
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const { address } = newClient(rig, family);
    const ask = async (port: number) => (await rig.open(id, { address, port }))!.server;
    const drained = await ask(40_000);
    await change(rig, set(1), editDestination(id, drained, { weight: 0 }));
    const other = await ask(40_001);
    expect(other).not.toEqual(drained);
    // What took its place stays.
    await change(rig, set(0), editDestination(id, drained, { weight: 1 }));
    for (let n = 2; n < 5; n++) expect(await ask(40_000 + n)).toEqual(other);
  },

  'maintenance sends the persistent clients of one real server elsewhere': async (rig, family) => {
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const clients = [newClient(rig, family), newClient(rig, family)];
    const ask = async (n: number, port: number) =>
      (await rig.open(id, { address: clients[n]!.address, port }))!.server;
    const drained = await ask(0, 40_000);
    const other = await ask(1, 40_000);
    const maintained = { weight: 0, expiresTemplates: true } as const;
    await change(rig, editDestination(id, drained, maintained));
    expect((await shown(rig, id)).destinations.map((one) => one.destination)).toContainEqual(
      destination(drained, maintained),
    );
    expect(await ask(0, 40_001)).toEqual(other);
    await change(rig, editDestination(id, drained), editDestination(id, other, { weight: 0 }));
    expect((await shown(rig, id)).destinations.map((one) => one.destination)).toContainEqual(
      destination(drained),
    );
    for (const n of [0, 1]) expect(await ask(n, 40_002)).toEqual(other);
    // Added so, and back without it.
    await change(rig, deleteDestination(id, other), addDestination(id, other, maintained));
    expect(await ask(1, 40_003)).toEqual(drained);
    await change(rig, deleteDestination(id, other), addDestination(id, other, { weight: 0 }));
    expect(await ask(0, 40_003)).toEqual(other);
  },

  'an overloaded real server keeps its persistent clients': async (rig, family) => {
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const { address } = newClient(rig, family);
    const ask = async (port: number) => (await rig.open(id, { address, port }))!.server;
    const full = await ask(40_000);
    await change(rig, editDestination(id, full, { upperThreshold: 1 }));
    for (let n = 1; n < 4; n++) {
      expect(await ask(40_000 + n)).toEqual(full);
      expect((await mustOpen(rig, id, family)).server).not.toEqual(full);
    }
  },

  'a deleted real server has its persistent clients again, but for those that came in between': async (
    rig,
    family,
  ) => {
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const clients = [newClient(rig, family), newClient(rig, family), newClient(rig, family)];
    const ask = async (n: number, port: number) =>
      (await rig.open(id, { address: clients[n]!.address, port }))!.server;
    const gone = await ask(0, 40_000);
    const other = await ask(1, 40_000);
    expect(await ask(2, 40_000)).toEqual(gone);
    await change(rig, deleteDestination(id, gone));
    expect(await ask(2, 40_001)).toEqual(other);
    await change(rig, addDestination(id, gone));
    for (let n = 2; n < 5; n++) {
      expect(await ask(0, 40_000 + n)).toEqual(gone);
      expect(await ask(1, 40_000 + n)).toEqual(other);
      expect(await ask(2, 40_000 + n)).toEqual(other);
    }
  },

  'a persistent service for every port takes what none with the port does': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const every = { ...id, port: 0 };
    const places = [await rig.realServer(family, 'tcp'), await rig.realServer(family, 'tcp')];
    await change(
      rig,
      { kind: 'add-service', service: virtualService(every, { persistence: persistence(family) }) },
      ...places.map(({ address }) => addDestination(every, { address, port: 0 })),
    );
    const { address } = newClient(rig, family);
    const ask = async (to: number, port: number) =>
      (await rig.open({ ...id, port: to }, { address, port }))!.server;
    expect(await ask(id.port, 40_000)).toEqual(servers[0]);
    const first = await ask(61_000, 40_000);
    expect(first.port).toBe(61_000);
    for (let n = 1; n < 4; n++)
      expect(await ask(61_000 + n, 40_000)).toEqual({ address: first.address, port: 61_000 + n });
    const template = (await gather(rig.plane.connections())).find(
      (row) => row.template && row.client.address === address,
    );
    expect(template).toMatchObject({
      virtual: { address: id.address, port: 0 },
      destination: { address: first.address, port: 0 },
    });
    await change(rig, { kind: 'delete-service', id: every });
  },

  'a service for every port without persistence refuses clients': async (rig, family) => {
    const id = await rig.service(family, 'tcp');
    const every = { ...id, port: 0 };
    const { address } = await rig.realServer(family, 'tcp');
    await change(
      rig,
      { kind: 'add-service', service: virtualService(every) },
      addDestination(every, { address, port: 0 }),
    );
    expect(await open(rig, { ...id, port: 62_000 }, family)).toBeUndefined();
    await change(rig, { kind: 'delete-service', id: every });
  },

  'without persistence any more templates bring nobody back': async (rig, family) => {
    const { id } = await site(rig, family, 2, { persistence: persistence(family) });
    const { address } = newClient(rig, family);
    const ask = async (port: number) => (await rig.open(id, { address, port }))!.server;
    expect(await ask(40_000)).toEqual(await ask(40_001));
    await change(rig, { kind: 'edit-service', service: virtualService(id) });
    expect(await ask(40_002)).not.toEqual(await ask(40_003));
  },
} as const satisfies Record<string, Check>;

/** Every client for itself. */
const persistence = (family: Family, timeoutSeconds = 300) => ({
  timeoutSeconds,
  netmask: family === 4 ? 0xffffffff : 128,
});

/** How many templates the real servers have, in the order they were added. */
const templates = async (rig: Rig, id: AddressServiceId): Promise<number[]> =>
  (await shown(rig, id)).destinations.map((one) => one.persistentConnections);

/** Which real server has the most connections. */
async function leader(rig: Rig, id: AddressServiceId): Promise<number> {
  const sums = (await counts(rig, id)).map(([active, inactive]) => active + inactive);
  return sums.indexOf(Math.max(...sums));
}

/** A netmask under which two clients of a rig are one, and a third is not. */
function network(rig: Rig, family: Family) {
  const clients = Array.from({ length: 600 }, (_, n) => rig.client(family, n));
  for (const netmask of family === 4 ? [0xffffff00] : [48, 64, 80, 96]) {
    const [one, ...others] = clients.map((address) => ({ address, masked: maskAddress(address, netmask) }));
    const neighbour = others.find(({ masked }) => masked === one!.masked);
    const stranger = others.find(({ masked }) => masked !== one!.masked);
    if (neighbour && stranger)
      return {
        netmask,
        one: one!.address,
        neighbour: neighbour.address,
        stranger: stranger.address,
      };
  }
  throw new Error('no netmask groups some clients and not all');
}
