import { expect } from 'vitest';
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
import type { Conversation } from './rig.ts';
import { type Check, ended, mustOpen, newClient, open, sameServer, site } from './site.ts';

/** Who gets connections, and what becomes of them when real servers and services change. */
export const destinationRules = {
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

  'one-packet services schedule every datagram': async (rig, family) => {
    const { id } = await site(rig, family, 2, { onePacket: true }, 'udp');
    const conversation = await mustOpen(rig, id, family);
    const found = new Set([conversation.server.port]);
    for (let n = 0; n < 3; n++) found.add((await conversation.say())?.port ?? 0);
    expect(found.size).toBe(2);
  },
} as const satisfies Record<string, Check>;
