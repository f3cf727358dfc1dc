import { expect } from 'vitest';
import type { Family } from '../../src/model/address.ts';
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
    const { counters, destinations } = await shown(rig, id);
    for (const found of [counters, destinations[0]!.counters]) {
      expect(found.connections).toBe(2n);
      expect(found.packetsOut).toBeGreaterThan(0n);
      expect(found.bytesOut).toBeGreaterThan(0n);
    }
  },

  'zero clears counters and nothing else': async (rig, family) => {
    const { id, servers } = await site(rig, family, 1);
    const conversation = await mustOpen(rig, id, family);
    await change(rig, { kind: 'zero', id });
    const { counters, destinations } = await shown(rig, id);
    for (const found of [counters, destinations[0]!.counters]) expect(found.connections).toBe(0n);
    expect(await counts(rig, id)).toEqual([[1, 0]]);
    expect(await conversation.say()).toEqual(servers[0]);
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
    const netmask = family === 4 ? 0xffffffff : 128;
    const { id } = await site(rig, family, 3, { persistence: { timeoutSeconds: 300, netmask } });
    const { address } = newClient(rig, family);
    const found = new Set<string>();
    for (let n = 0; n < 6; n++) {
      const conversation = await rig.open(id, { address, port: 40_000 + n });
      found.add(`${conversation?.server.address} ${conversation?.server.port}`);
    }
    expect(found.size).toBe(1);
    const { destinations } = await shown(rig, id);
    expect(destinations.reduce((sum, one) => sum + one.persistentConnections, 0)).toBe(1);
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

const bothFlags = { flag1: true, flag2: true, flag3: false };

const sameServer = (a: DestinationId, b: DestinationId): boolean =>
  a.address === b.address && a.port === b.port;
