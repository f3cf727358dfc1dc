import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Operation, Refusal, RefusalReason, Table } from '../../model/table.ts';
import type { ServiceId, VirtualService } from '../../model/virtual-service.ts';
import { hasModule } from '../../sys/kernel-module.ts';
import type { NetlinkError } from '../../sys/netlink/socket.ts';

/**
 * The kernel's answer to an operation as a refusal; undefined where it is none but a failure of the whole plane
 * (ip_vs_genl_set_cmd, net/netfilter/ipvs/ip_vs_ctl.c).
 */
export function refusalOf(operation: Operation, error: NetlinkError): Refusal | undefined {
  const onDestination = operation.kind.endsWith('-destination');
  switch (error.code) {
    case 'ESRCH':
      return { reason: 'no-such-service', detail: `${nameOf(operation)} is not there` };
    case 'EEXIST':
      return onDestination
        ? { reason: 'destination-exists', detail: `${memberOf(operation)} is there already` }
        : { reason: 'service-exists', detail: `${nameOf(operation)} is there already` };
    case 'ENOENT':
      return onDestination
        ? {
            reason: 'no-such-destination',
            detail: `${memberOf(operation)} is not in ${nameOf(operation)}`,
          }
        : { reason: 'unknown-scheduler', detail: missingModule(operation) };
    default: {
      const reason = reasons[error.code];
      return reason && { reason, detail: `the kernel refuses it: ${error.message}` };
    }
  }
}

const reasons: Readonly<Record<string, RefusalReason>> = {
  EINVAL: 'invalid',
  EOPNOTSUPP: 'invalid',
  EPROTONOSUPPORT: 'invalid',
  ERANGE: 'out-of-range',
  ENOMEM: 'table-full',
  EAFNOSUPPORT: 'unsupported-family',
};

/** What is not there of a service's scheduler and its persistence engine, and what to do. */
function missingModule(operation: Operation): string {
  if (!('service' in operation)) return 'the kernel has no such scheduler';
  const { scheduler, persistence } = operation.service;
  const wanted = [
    ...(scheduler === 'none' ? [] : [['scheduler', scheduler, `ip_vs_${scheduler}`] as const]),
    ...(persistence?.engine === undefined
      ? []
      : [['persistence engine', persistence.engine, `ip_vs_pe_${persistence.engine}`] as const]),
  ];
  const [what, name, module] = wanted.find(([, , module]) => !hasModule(module)) ?? wanted[0] ?? [];
  return `this kernel has no ${what} "${name}": its module ${module} is not there; "modprobe ${module}" says why, or take another one`;
}

/** A table in which an operation is refused for its values alone. */
export function imaginedFor(operation: Operation): Table {
  switch (operation.kind) {
    case 'edit-service':
      return { services: [{ service: operation.service, destinations: [] }] };
    case 'add-destination':
      return { services: [{ service: anyService(operation.id), destinations: [] }] };
    case 'edit-destination':
      return { services: [{ service: anyService(operation.id), destinations: [operation.destination] }] };
    default:
      return { services: [] };
  }
}

const anyService = (id: ServiceId): VirtualService => ({
  id,
  scheduler: 'rr',
  schedulerFlags: { flag1: false, flag2: false, flag3: false },
  onePacket: false,
});

function nameOf(operation: Operation): string {
  const id = 'service' in operation ? operation.service.id : 'id' in operation ? operation.id : undefined;
  return id ? serviceKey(id) : 'the service';
}

const memberOf = (operation: Operation): string =>
  'destination' in operation ? destinationKey(operation.destination) : 'the destination';
