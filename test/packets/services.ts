import { familyOf } from '../../src/model/address.ts';
import type { Operation } from '../../src/model/table.ts';
import type {
  AddressServiceId,
  Destination,
  ForwardingMethod,
  Protocol,
  VirtualService,
} from '../../src/model/virtual-service.ts';
import { endpoint } from './frame.ts';

/** Short forms for the table of services: `serviceId('tcp 198.51.100.10:80')`. */
export function serviceId(text: string): AddressServiceId {
  const [protocol, at] = text.split(' ') as [Protocol, string];
  return { kind: 'address', protocol, ...endpoint(at) };
}

export function virtualService(
  text: string,
  scheduler: VirtualService['scheduler'] = 'rr',
  flags: Partial<VirtualService['schedulerFlags']> = {},
): VirtualService {
  return {
    id: serviceId(text),
    scheduler,
    schedulerFlags: { flag1: false, flag2: false, flag3: false, ...flags },
    onePacket: false,
  };
}

export function destination(at: string, method: ForwardingMethod = 'masquerade', weight = 1): Destination {
  return { ...endpoint(at), method, weight, upperThreshold: 0, lowerThreshold: 0 };
}

/** A service with destinations, added in this order. */
export type ServicePlan = {
  readonly service: VirtualService;
  readonly destinations: readonly Destination[];
};

export function servicePlan(
  text: string,
  scheduler: VirtualService['scheduler'],
  ...destinations: readonly Destination[]
): ServicePlan {
  return { service: virtualService(text, scheduler), destinations };
}

/** The operations that bring services into an empty table. */
export function additions(plans: readonly ServicePlan[]): Operation[] {
  return plans.flatMap(({ service, destinations }): Operation[] => [
    { kind: 'add-service', service },
    ...destinations.map((one): Operation => ({ kind: 'add-destination', id: service.id, destination: one })),
  ]);
}

/** `address:port`, IPv6 in brackets. */
export function at(address: string, port: number): string {
  return familyOf(address as Destination['address']) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
