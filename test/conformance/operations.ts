import { expect } from 'vitest';
import type { Observed, Operation } from '../../src/model/table.ts';
import type {
  AddressServiceId,
  Destination,
  DestinationId,
  VirtualService,
} from '../../src/model/virtual-service.ts';
import type { Rig } from './rig.ts';

/** A service with settings that differ from the plainest. */
export const virtualService = (
  id: AddressServiceId,
  settings: Partial<VirtualService> = {},
): VirtualService => ({
  id,
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
  ...settings,
});

/** A destination with settings that differ from the plainest. */
export const destination = (
  { address, port }: DestinationId,
  settings: Partial<Destination> = {},
): Destination => ({
  address,
  port,
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  ...settings,
});

export const addDestination = (
  id: AddressServiceId,
  server: DestinationId,
  settings: Partial<Destination> = {},
): Operation => ({ kind: 'add-destination', id, destination: destination(server, settings) });

export const editDestination = (
  id: AddressServiceId,
  server: DestinationId,
  settings: Partial<Destination> = {},
): Operation => ({ kind: 'edit-destination', id, destination: destination(server, settings) });

export const deleteDestination = (id: AddressServiceId, server: DestinationId): Operation => ({
  kind: 'delete-destination',
  id,
  destination: { address: server.address, port: server.port },
});

/** Applies operations, none of which may be refused. */
export async function change(rig: Rig, ...operations: readonly Operation[]): Promise<void> {
  expect(await rig.plane.apply(operations)).toEqual(operations.map(() => undefined));
}

/** What the plane shows of a service. */
export async function shown(rig: Rig, id: AddressServiceId): Promise<Observed['services'][number]> {
  const { services } = await rig.plane.read();
  const found = services.find(
    ({ service }) =>
      service.id.kind === 'address' &&
      service.id.protocol === id.protocol &&
      service.id.address === id.address &&
      service.id.port === id.port,
  );
  if (!found) throw new Error(`there is no service ${id.protocol} ${id.address}:${id.port}`);
  return found;
}

/** Active and inactive connections of a service's destinations, in the order they were added. */
export async function counts(rig: Rig, id: AddressServiceId): Promise<[number, number][]> {
  const { destinations } = await shown(rig, id);
  return destinations.map(({ activeConnections, inactiveConnections }) => [
    activeConnections,
    inactiveConnections,
  ]);
}
