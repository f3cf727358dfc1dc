import { expect } from 'vitest';
import type { Address, Family } from '../../src/model/address.ts';
import { maskAddress } from '../../src/model/persistence.ts';
import type { Operation } from '../../src/model/table.ts';
import type { AddressServiceId, DestinationId, VirtualService } from '../../src/model/virtual-service.ts';
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
import type { Conversation, Rig, Transport } from './rig.ts';

/*
 * What every data plane does, whatever carries its packets. Sources: net/netfilter/ipvs of Linux 6.12 (ip_vs_ctl.c,
 * ip_vs_conn.c, ip_vs_core.c) and ipvsadm(8).
 */

type Check = (rig: Rig, family: Family) => Promise<void>;

let clients = 0;

/** A service with so many real servers, in the order they were added. */
async function site(
  rig: Rig,
  family: Family,
  servers: number,
  settings: Partial<VirtualService> = {},
  transport: Transport = 'tcp',
): Promise<{ id: AddressServiceId; servers: DestinationId[] }> {
  const id = await rig.service(family, transport);
  const places: DestinationId[] = [];
  for (let n = 0; n < servers; n++) places.push(await rig.realServer(family, transport));
  await change(
    rig,
    { kind: 'add-service', service: virtualService(id, settings) },
    ...places.map((server) => addDestination(id, server)),
  );
  return { id, servers: places };
}

/** What the plane shows of a service, with counters as they are by now. */
async function counted(rig: Rig, id: AddressServiceId) {
  await rig.wait(rig.countersLateSeconds ?? 0);
  return shown(rig, id);
}

/** A client that nobody has been yet. */
function newClient(rig: Rig, family: Family): DestinationId {
  clients++;
  return { address: rig.client(family, clients % 5000), port: 20_000 + (clients % 10_000) };
}

async function open(rig: Rig, id: AddressServiceId, family: Family): Promise<Conversation | undefined> {
  return rig.open(id, newClient(rig, family));
}

/** Opens one that must be taken. */
async function mustOpen(rig: Rig, id: AddressServiceId, family: Family): Promise<Conversation> {
  const found = await open(rig, id, family);
  if (!found) throw new Error('open a connection: nobody takes it');
  return found;
}

const ended = (rig: Rig, connections: number): number =>
  rig.afterEnd === 'an inactive entry' ? connections : 0;

export const rules = {
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

  'a connection stays with its real server whatever becomes of the others': async (rig, family) => {
    const { id, servers } = await site(rig, family, 3);
    const conversation = await mustOpen(rig, id, family);
    const others = servers.filter(({ port, address }) => {
      return port !== conversation.server.port || address !== conversation.server.address;
    });
    expect(others).toHaveLength(2);
    await change(rig, editDestination(id, others[0]!, { weight: 100 }), deleteDestination(id, others[1]!), {
      kind: 'edit-service',
      service: virtualService(id, { scheduler: 'sh' }),
    });
    for (let n = 0; n < 3; n++) expect(await conversation.say()).toEqual(conversation.server);
  },

  'weight 0 keeps connections and gets no new ones': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2);
    const conversation = await mustOpen(rig, id, family);
    const [quiet, other] =
      conversation.server.port === servers[0]!.port && conversation.server.address === servers[0]!.address
        ? [servers[0]!, servers[1]!]
        : [servers[1]!, servers[0]!];
    await change(rig, editDestination(id, quiet, { weight: 0 }));
    for (let n = 0; n < 4; n++) expect((await mustOpen(rig, id, family)).server).toEqual(other);
    expect(await conversation.say()).toEqual(quiet);
    await change(rig, editDestination(id, other, { weight: 0 }));
    expect(await open(rig, id, family)).toBeUndefined();
    expect(await conversation.say()).toEqual(quiet);
    await change(rig, editDestination(id, quiet, { weight: 1 }));
    expect((await mustOpen(rig, id, family)).server).toEqual(quiet);
  },

  'a drained destination goes without a connection lost': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2, { scheduler: 'wrr' });
    const conversations: Conversation[] = [];
    for (let n = 0; n < 6; n++) conversations.push(await mustOpen(rig, id, family));
    const leaving = servers[0]!;
    await change(rig, editDestination(id, leaving, { weight: 0 }));
    const toLeave = conversations.filter(({ server }) => sameServer(server, leaving));
    expect(toLeave).toHaveLength(3);
    for (const conversation of toLeave) {
      expect(await conversation.say()).toEqual(leaving);
      await conversation.finish();
    }
    expect(await counts(rig, id)).toEqual([
      [0, ended(rig, 3)],
      [3, 0],
    ]);
    await change(rig, deleteDestination(id, leaving));
    for (const conversation of conversations)
      if (!toLeave.includes(conversation)) expect(await conversation.say()).toEqual(servers[1]);
  },

  'a deleted destination is silent, and has its connections again when it is back': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const conversation = await mustOpen(rig, id, family);
    await change(rig, deleteDestination(id, servers[0]!));
    expect(await open(rig, id, family)).toBeUndefined();
    expect(await conversation.say()).toBeUndefined();
    await change(rig, addDestination(id, servers[0]!, { weight: 2 }));
    expect(await counts(rig, id)).toEqual([[1, 0]]);
    expect(await conversation.say()).toEqual(servers[0]);
  },

  'keep: connections of a deleted destination go on to it': async (rig, family) => {
    for (const transport of ['tcp', 'udp'] as const) {
      const { id, servers } = await site(rig, family, 1, { whenGone: 'keep' }, transport);
      const conversation = await mustOpen(rig, id, family);
      const other = await rig.realServer(family, transport);
      await change(rig, addDestination(id, other), deleteDestination(id, servers[0]!));
      for (let n = 0; n < 3; n++) expect(await conversation.say()).toEqual(servers[0]);
      expect((await mustOpen(rig, id, family)).server).toEqual(other);
      await change(rig, addDestination(id, servers[0]!), deleteDestination(id, other));
      expect(await counts(rig, id)).toEqual([transport === 'tcp' ? [1, 0] : [0, 1]]);
      expect(await conversation.say()).toEqual(servers[0]);
    }
  },

  'expire, reset: a connection of a deleted destination ends, its client finds another': async (
    rig,
    family,
  ) => {
    for (const whenGone of ['expire', 'reset'] as const) {
      const { id, servers } = await site(rig, family, 1, { whenGone });
      const client = newClient(rig, family);
      const conversation = await rig.open(id, client);
      expect(conversation?.server).toEqual(servers[0]);
      const other = await rig.realServer(family, 'tcp');
      await change(rig, addDestination(id, other), deleteDestination(id, servers[0]!));
      expect(await conversation?.say()).toBeUndefined();
      expect((await rig.open(id, client))?.server).toEqual(other);
      await change(rig, addDestination(id, servers[0]!));
      expect(await counts(rig, id)).toEqual([
        [1, 0],
        [0, 0],
      ]);
    }
  },

  'expire: a datagram of a deleted destination’s client goes to another at once': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1, { whenGone: 'expire' }, 'udp');
    const conversation = await mustOpen(rig, id, family);
    const other = await rig.realServer(family, 'udp');
    await change(rig, addDestination(id, other), deleteDestination(id, servers[0]!));
    for (let n = 0; n < 2; n++) expect(await conversation.say()).toEqual(other);
    await change(rig, addDestination(id, servers[0]!));
    expect(await counts(rig, id)).toEqual([
      [0, 1],
      [0, 0],
    ]);
  },

  'reset: a datagram of a deleted destination’s client is refused, the next one goes to another': async (
    rig,
    family,
  ) => {
    const { id, servers } = await site(rig, family, 1, { whenGone: 'reset' }, 'udp');
    const conversation = await mustOpen(rig, id, family);
    const other = await rig.realServer(family, 'udp');
    await change(rig, addDestination(id, other), deleteDestination(id, servers[0]!));
    expect(await conversation.say()).toBeUndefined();
    expect(await conversation.say()).toEqual(other);
  },

  'an edit leaves what becomes of connections as it is, where it does not say it': async (rig, family) => {
    const { id } = await site(rig, family, 1, { whenGone: 'reset' });
    await change(rig, { kind: 'edit-service', service: virtualService(id, { scheduler: 'wlc' }) });
    expect((await shown(rig, id)).service).toEqual(
      virtualService(id, { scheduler: 'wlc', whenGone: 'reset' }),
    );
    await change(rig, { kind: 'edit-service', service: virtualService(id, { whenGone: 'drop' }) });
    expect((await shown(rig, id)).service).toEqual(virtualService(id));
  },

  'a flush leaves connections that nobody serves': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const conversation = await mustOpen(rig, id, family);
    await change(rig, { kind: 'flush' });
    expect((await rig.plane.read()).services).toEqual([]);
    expect(await conversation.say()).toBeUndefined();
    await change(rig, { kind: 'add-service', service: virtualService(id) }, addDestination(id, servers[0]!));
    expect(await conversation.say()).toEqual(servers[0]);
  },

  'a service that is deleted takes no more connections': async (rig, family) => {
    const { id } = await site(rig, family, 1);
    await mustOpen(rig, id, family);
    await change(rig, { kind: 'delete-service', id });
    await expect(shown(rig, id)).rejects.toThrow('there is no service');
    await change(rig, { kind: 'add-service', service: virtualService(id) });
    expect(await open(rig, id, family)).toBeUndefined();
    expect((await shown(rig, id)).destinations).toEqual([]);
  },

  'one real server in two services is counted in each by itself': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const other = await rig.service(family, 'tcp');
    await change(
      rig,
      { kind: 'add-service', service: virtualService(other) },
      addDestination(other, servers[0]!, { weight: 5 }),
    );
    await mustOpen(rig, id, family);
    for (let n = 0; n < 2; n++) await mustOpen(rig, other, family);
    expect(await counts(rig, id)).toEqual([[1, 0]]);
    expect(await counts(rig, other)).toEqual([[2, 0]]);
    await change(rig, editDestination(id, servers[0]!, { weight: 0 }));
    expect(await open(rig, id, family)).toBeUndefined();
    expect((await mustOpen(rig, other, family)).server).toEqual(servers[0]);
  },

  'datagrams of one client go to one real server and count as inactive': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2, {}, 'udp');
    const [one, two] = [await mustOpen(rig, id, family), await mustOpen(rig, id, family)];
    expect(new Set([one.server.port, two.server.port]).size).toBe(2);
    for (let n = 0; n < 3; n++) {
      expect(await one.say()).toEqual(one.server);
      expect(await two.say()).toEqual(two.server);
    }
    expect(await counts(rig, id)).toEqual([
      [0, 1],
      [0, 1],
    ]);
    await change(rig, editDestination(id, servers[0]!, { weight: 0 }));
    for (const conversation of [one, two]) expect(await conversation.say()).toEqual(conversation.server);
  },

  'a service without destinations refuses clients': async (rig, family) => {
    const { id } = await site(rig, family, 0);
    expect(await open(rig, id, family)).toBeUndefined();
    expect((await shown(rig, id)).counters.connections).toBe(0n);
  },

  'direct routing and tunnels are taken': async (rig, family) => {
    const { id, servers } = await site(rig, family, 0);
    const real = servers[0] ?? (await rig.realServer(family, 'tcp'));
    const tunnel = { type: 'ipip', port: 0, checksum: 'none' } as const;
    const place = { ...real, port: id.port };
    await change(rig, addDestination(id, place, { method: 'direct-routing' }));
    await change(rig, editDestination(id, place, { method: 'tunnel', tunnel }));
    expect((await shown(rig, id)).destinations.map((one) => one.destination)).toEqual([
      destination(place, { method: 'tunnel', tunnel }),
    ]);
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
    const rows = (await rig.plane.connections()).filter((row) => row.template && sameServer(row.virtual, id));
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
    const template = (await rig.plane.connections()).find(
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

  'an upper threshold sends clients elsewhere': async (rig, family) => {
    const { id, servers } = await site(rig, family, 2);
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 1 }));
    const found: number[] = [];
    for (let n = 0; n < 5; n++) {
      const { server } = await mustOpen(rig, id, family);
      found.push(servers.findIndex((one) => sameServer(one, server)));
    }
    expect(found.filter((n) => n === 0)).toHaveLength(1);
  },

  'an overloaded destination serves again below its lower threshold, not before': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const overloaded = async () => (await shown(rig, id)).destinations[0]!.overloaded ?? false;
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 3, lowerThreshold: 2 }));
    const conversations: Conversation[] = [];
    for (let n = 0; n < 3; n++) conversations.push(await mustOpen(rig, id, family));
    expect(await overloaded()).toBe(true);
    expect(await open(rig, id, family)).toBeUndefined();
    for (const conversation of conversations) expect(await conversation.say()).toEqual(servers[0]);
    await rig.forget(conversations[0]!);
    expect(await overloaded()).toBe(true);
    expect(await open(rig, id, family)).toBeUndefined();
    await rig.forget(conversations[1]!);
    expect(await overloaded()).toBe(false);
    expect((await mustOpen(rig, id, family)).server).toEqual(servers[0]);
  },

  'without a lower threshold an overloaded destination serves again below three quarters': async (
    rig,
    family,
  ) => {
    const { id, servers } = await site(rig, family, 1);
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 5 }));
    const conversations: Conversation[] = [];
    for (let n = 0; n < 5; n++) conversations.push(await mustOpen(rig, id, family));
    // 5 - 5/4 = 4: 4 connections are too many, 3 are not.
    for (const left of [4, 3]) {
      expect(await open(rig, id, family)).toBeUndefined();
      await rig.forget(conversations.pop()!);
      expect(conversations).toHaveLength(left);
    }
    await mustOpen(rig, id, family);
  },

  'thresholds count what is inactive': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1, {}, 'udp');
    await change(rig, editDestination(id, servers[0]!, { upperThreshold: 2 }));
    for (let n = 0; n < 2; n++) await mustOpen(rig, id, family);
    expect(await counts(rig, id)).toEqual([[0, 2]]);
    expect(await open(rig, id, family)).toBeUndefined();
  },

  'an edit of the thresholds decides anew, and nothing else does': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const edit = (upperThreshold: number, lowerThreshold = 0, weight = 1) =>
      change(rig, editDestination(id, servers[0]!, { upperThreshold, lowerThreshold, weight }));
    const overloaded = async () => (await shown(rig, id)).destinations[0]!.overloaded ?? false;
    for (let n = 0; n < 3; n++) await mustOpen(rig, id, family);
    expect(await overloaded()).toBe(false);
    for (const [upper, lower, wanted] of [
      [3, 0, true],
      // Between the two: as it was.
      [10, 2, true],
      [10, 4, false],
      [20, 2, false],
      [2, 0, true],
      [0, 0, false],
    ] as const) {
      await edit(upper, lower);
      expect(await overloaded(), `${upper} ${lower}`).toBe(wanted);
    }
    await edit(3);
    await edit(3, 0, 7);
    expect(await overloaded()).toBe(true);
  },

  'one-packet services schedule every datagram': async (rig, family) => {
    const { id } = await site(rig, family, 2, { onePacket: true }, 'udp');
    const conversation = await mustOpen(rig, id, family);
    const found = new Set([conversation.server.port]);
    for (let n = 0; n < 3; n++) found.add((await conversation.say())?.port ?? 0);
    expect(found.size).toBe(2);
  },
} as const satisfies Record<string, Check>;

export type RuleName = keyof typeof rules;

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

const bothFlags = { flag1: true, flag2: true, flag3: false };

const sameServer = (a: DestinationId, b: DestinationId): boolean =>
  a.address === b.address && a.port === b.port;
