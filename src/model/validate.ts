import { type Address, familyOf, isLinkLocal, isUnicast } from './address.ts';
import { destinationKey, equalServiceId, serviceFamily, serviceKey } from './service-id.ts';
import { type NumberSysctlName, type Sysctls, sysctlRanges, sysctlsAtOdds } from './sysctls.ts';
import type { Operation, Refusal, RefusalReason, ServiceEntry, Table } from './table.ts';
import {
  type Destination,
  type DestinationId,
  mostLocalAddresses,
  type ServiceId,
  schedulerNames,
  type Timeouts,
  type VirtualService,
} from './virtual-service.ts';

/** What the rules ask of the host; both may be left out. */
export type Host = {
  /** Whether an address is one of the host's own: such a link-local IPv6 address may be a destination. */
  readonly isLocal?: (address: Address) => boolean;
  /** Whether a connection sync daemon runs: it cannot express destinations of the other family. */
  readonly syncRunning?: boolean;
};

const intMax = 2 ** 31 - 1;
const markMax = 2 ** 32 - 1;
/** Timeouts are kept in jiffies in an int; 250 a second is what distributions' kernels have. */
const timeoutMaxSeconds = Math.floor(intMax / 250);
const persistenceEngines: readonly string[] = ['sip'];

/**
 * Why the table refuses an operation, or undefined: the rules of Linux 6.12, net/netfilter/ipvs/ip_vs_ctl.c, in its
 * order of checks. One is ours: a field outside its type's range is `invalid` (the kernel cannot be told such a
 * value). What only ipvsadm refuses (port 0 without persistence) passes.
 */
export function checkOperation(operation: Operation, table: Table, host: Host = {}): Refusal | undefined {
  switch (operation.kind) {
    case 'add-service':
      if (findService(table, operation.service.id)) return refuse('service-exists', operation.service.id);
      return checkService(operation.service);
    case 'edit-service': {
      const entry = findService(table, operation.service.id);
      if (!entry) return refuse('no-such-service', operation.service.id);
      return checkService(operation.service) ?? checkOnePacket(operation.service, entry.destinations);
    }
    case 'delete-service':
      return findService(table, operation.id) ? undefined : refuse('no-such-service', operation.id);
    case 'add-destination': {
      const entry = findService(table, operation.id);
      if (!entry) return refuse('no-such-service', operation.id);
      const { destination } = operation;
      const refusal = checkSettings(destination, entry, host);
      if (refusal) return refusal;
      if (findDestination(entry, destination)) {
        return { reason: 'destination-exists', detail: `${destinationKey(destination)} is there already` };
      }
      return checkAddress(destination.address, host);
    }
    case 'edit-destination': {
      const entry = findService(table, operation.id);
      if (!entry) return refuse('no-such-service', operation.id);
      return checkSettings(operation.destination, entry, host) ?? checkPresence(entry, operation.destination);
    }
    case 'delete-destination': {
      const entry = findService(table, operation.id);
      if (!entry) return refuse('no-such-service', operation.id);
      return checkPresence(entry, operation.destination);
    }
    case 'set-timeouts':
      return checkTimeouts(operation.timeouts);
    case 'set-sysctls':
      return checkSysctls(operation.sysctls);
    case 'zero':
      if (!operation.id || findService(table, operation.id)) return undefined;
      return refuse('no-such-service', operation.id);
    case 'flush':
      return undefined;
  }
}

/** The entry of a virtual service in a table. */
export function findService(table: Table, id: ServiceId): ServiceEntry | undefined {
  return table.services.find(({ service }) => equalServiceId(service.id, id));
}

/** A destination by its address and port. */
export function findDestination(entry: ServiceEntry, id: DestinationId): Destination | undefined {
  return entry.destinations.find(({ address, port }) => address === id.address && port === id.port);
}

function checkService(service: VirtualService): Refusal | undefined {
  const { id, scheduler, persistence } = service;
  if (scheduler !== 'none' && !schedulerNames.includes(scheduler)) {
    return {
      reason: 'unknown-scheduler',
      detail: `"${scheduler}" is not one of ${schedulerNames.join(', ')}`,
    };
  }
  if (persistence?.engine !== undefined && !persistenceEngines.includes(persistence.engine)) {
    const detail = `"${persistence.engine}" is not a persistence engine: the only one is sip`;
    return { reason: 'unknown-scheduler', detail };
  }
  if (id.kind === 'address' && !isPort(id.port)) return outsideRange('port', id.port, 0, 65535);
  if (id.kind === 'fwmark' && !isWithin(id.mark, 1, markMax))
    return outsideRange('mark', id.mark, 1, markMax);
  if (!persistence) return undefined;
  if (!isWithin(persistence.timeoutSeconds, 0, markMax)) {
    return outsideRange('persistence timeout', persistence.timeoutSeconds, 0, markMax);
  }
  const { netmask } = persistence;
  if (serviceFamily(id) === 6 && !isWithin(netmask, 1, 128))
    return outsideRange('prefix length', netmask, 1, 128);
  if (!isWithin(netmask, 0, markMax)) return outsideRange('netmask', netmask, 0, markMax);
  return undefined;
}

function checkSettings(destination: Destination, entry: ServiceEntry, host: Host): Refusal | undefined {
  const { method, weight, upperThreshold, lowerThreshold, tunnel } = destination;
  if (familyOf(destination.address) !== serviceFamily(entry.service.id)) {
    const detail = `${destination.address} is not of the service's address family`;
    if (host.syncRunning) return { reason: 'invalid', detail: `${detail} and connection sync is running` };
    if (method !== 'tunnel')
      return { reason: 'invalid', detail: `${detail}: only method tunnel can cross it` };
  }
  if (!isWithin(weight, 0, intMax)) {
    return { reason: 'out-of-range', detail: `weight ${weight} is outside 0..${intMax}` };
  }
  if (lowerThreshold > upperThreshold) {
    const detail = `lower threshold ${lowerThreshold} is above upper threshold ${upperThreshold}`;
    return { reason: 'out-of-range', detail };
  }
  if (!isWithin(upperThreshold, 0, intMax)) return outsideRange('upper threshold', upperThreshold, 0, intMax);
  if (!isWithin(lowerThreshold, 0, intMax)) return outsideRange('lower threshold', lowerThreshold, 0, intMax);
  if (!isPort(destination.port)) return outsideRange('port', destination.port, 0, 65535);
  if ((method === 'tunnel') !== (tunnel !== undefined)) {
    return {
      reason: 'invalid',
      detail: `method ${method} ${tunnel ? 'takes no' : 'needs its'} tunnel settings`,
    };
  }
  const refusal = checkFullNat(destination, entry);
  if (refusal) return refusal;
  if (tunnel && !isPort(tunnel.port)) return outsideRange('tunnel port', tunnel.port, 0, 65535);
  if (tunnel?.type === 'gue' && tunnel.port === 0) {
    return { reason: 'invalid', detail: 'a gue tunnel needs a UDP port: found 0' };
  }
  return undefined;
}

/** Ours: IPVS has no such method. */
function checkFullNat(destination: Destination, { service }: ServiceEntry): Refusal | undefined {
  const { method, fullNat } = destination;
  if ((method === 'full-nat') !== (fullNat !== undefined)) {
    const detail = `method ${method} ${fullNat ? 'takes no' : 'needs its'} full-nat settings`;
    return { reason: 'invalid', detail };
  }
  if (!fullNat) return undefined;
  const { localAddresses, clientAddress } = fullNat;
  if (localAddresses.length > mostLocalAddresses)
    return outsideRange('the number of local addresses', localAddresses.length, 0, mostLocalAddresses);
  const other = localAddresses.find(
    (address) => familyOf(address) !== familyOf(destination.address) || !isUnicast(address),
  );
  if (other !== undefined) {
    const detail = `local address ${other}: wanted a unicast address of the family of ${destination.address}`;
    return { reason: 'invalid', detail };
  }
  const { id } = service;
  if (clientAddress !== 'hidden' && id.kind === 'address' && id.protocol !== 'tcp') {
    const detail = `client address by ${clientAddress}: wanted a service over tcp, found ${id.protocol}`;
    return { reason: 'invalid', detail };
  }
  return checkOnePacket(service, [destination]);
}

function checkOnePacket(
  { onePacket }: VirtualService,
  destinations: readonly Destination[],
): Refusal | undefined {
  if (!onePacket || !destinations.some(({ method }) => method === 'full-nat')) return undefined;
  const detail = 'one-packet scheduling remembers no connection, and full NAT finds no client without one';
  return { reason: 'invalid', detail };
}

function checkAddress(address: Address, host: Host): Refusal | undefined {
  const linkLocal = familyOf(address) === 6 && isLinkLocal(address);
  if (isUnicast(address) && !linkLocal) return undefined;
  if (familyOf(address) === 6 && host.isLocal?.(address)) return undefined;
  const detail = linkLocal ? `${address} is link-local` : `${address} is not a unicast address`;
  return { reason: 'invalid', detail };
}

function checkPresence(entry: ServiceEntry, id: DestinationId): Refusal | undefined {
  if (findDestination(entry, id)) return undefined;
  const detail = `${destinationKey(id)} is not in ${serviceKey(entry.service.id)}`;
  return { reason: 'no-such-destination', detail };
}

function checkTimeouts(timeouts: Partial<Timeouts>): Refusal | undefined {
  for (const [name, seconds] of Object.entries(timeouts)) {
    if (!isWithin(seconds, 0, timeoutMaxSeconds)) {
      return outsideRange(`${name} timeout`, seconds, 0, timeoutMaxSeconds);
    }
  }
  return undefined;
}

function checkSysctls(sysctls: Partial<Sysctls>): Refusal | undefined {
  for (const [name, [least, most]] of Object.entries(sysctlRanges)) {
    const value = sysctls[name as NumberSysctlName];
    if (value !== undefined && !isWithin(value, least, most)) return outsideRange(name, value, least, most);
  }
  const odd = sysctlsAtOdds(sysctls);
  return odd === undefined ? undefined : { reason: 'invalid', detail: odd };
}

function refuse(reason: RefusalReason & ('service-exists' | 'no-such-service'), id: ServiceId): Refusal {
  return {
    reason,
    detail: `${serviceKey(id)} ${reason === 'service-exists' ? 'is there already' : 'is not there'}`,
  };
}

function outsideRange(what: string, value: number, from: number, to: number): Refusal {
  return { reason: 'invalid', detail: `${what} ${value} is outside ${from}..${to}` };
}

function isPort(value: number): boolean {
  return isWithin(value, 0, 65535);
}

function isWithin(value: number, from: number, to: number): boolean {
  return Number.isInteger(value) && value >= from && value <= to;
}
