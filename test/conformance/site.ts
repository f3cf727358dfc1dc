import type { Family } from '../../src/model/address.ts';
import type { AddressServiceId, DestinationId, VirtualService } from '../../src/model/virtual-service.ts';
import { addDestination, change, shown, virtualService } from './operations.ts';
import type { Conversation, Rig, Transport } from './rig.ts';

/* What the rules of conformance are about: services with real servers, and clients. */

export type Check = (rig: Rig, family: Family) => Promise<void>;

let clients = 0;

/** A service with so many real servers, in the order they were added. */
export async function site(
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
export async function counted(rig: Rig, id: AddressServiceId) {
  await rig.wait(rig.countersLateSeconds ?? 0);
  return shown(rig, id);
}

/** A client that nobody has been yet. */
export function newClient(rig: Rig, family: Family): DestinationId {
  clients++;
  return { address: rig.client(family, clients % 5000), port: 20_000 + (clients % 10_000) };
}

export async function open(
  rig: Rig,
  id: AddressServiceId,
  family: Family,
): Promise<Conversation | undefined> {
  return rig.open(id, newClient(rig, family));
}

/** Opens one that must be taken. */
export async function mustOpen(rig: Rig, id: AddressServiceId, family: Family): Promise<Conversation> {
  const found = await open(rig, id, family);
  if (!found) throw new Error('open a connection: nobody takes it');
  return found;
}

export const ended = (rig: Rig, connections: number): number =>
  rig.afterEnd === 'an inactive entry' ? connections : 0;

export const sameServer = (a: DestinationId, b: DestinationId): boolean =>
  a.address === b.address && a.port === b.port;
