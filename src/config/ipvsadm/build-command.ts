import { familyOf } from '../../model/address.ts';
import {
  type Destination,
  type DestinationId,
  type SchedulerName,
  type ServiceId,
  type Tunnel,
  translates,
  type VirtualService,
} from '../../model/virtual-service.ts';
import { type Command, type ListOptions, listFormats } from './command.ts';
import type { Draft } from './draft.ts';
import { badArgument } from './failure.ts';
import { type CommandName, checkTunnelOptions } from './validity.ts';

const defaultScheduler = 'wlc';
const defaultInterface = 'eth0';

/** Makes the command of a checked draft; throws a CommandFailure where its parts do not go together. */
export function buildCommand(name: CommandName, draft: Draft): Command {
  switch (name) {
    case 'add-service':
    case 'edit-service':
      return { kind: 'change', operation: { kind: name, service: buildService(draft) } };
    case 'delete-service':
      return { kind: 'change', operation: { kind: 'delete-service', id: idOf(draft) } };
    case 'add-server':
    case 'edit-server': {
      const kind = name === 'add-server' ? 'add-destination' : 'edit-destination';
      return { kind: 'change', operation: { kind, id: idOf(draft), destination: buildDestination(draft) } };
    }
    case 'delete-server':
      return {
        kind: 'change',
        operation: { kind: 'delete-destination', id: idOf(draft), destination: serverOf(draft) },
      };
    case 'flush':
      return { kind: 'change', operation: { kind: 'flush' } };
    case 'zero':
      return {
        kind: 'change',
        operation: draft.id && !isEverything(draft.id) ? { kind: 'zero', id: draft.id } : { kind: 'zero' },
      };
    case 'set':
      return { kind: 'change', operation: { kind: 'set-timeouts', timeouts: buildTimeouts(draft) } };
    case 'list':
      return buildList(draft);
    case 'save':
      return { kind: 'save', numeric: draft.given.has('numeric') };
    case 'restore':
      return { kind: 'restore' };
    case 'start-daemon':
      return {
        kind: 'start-daemon',
        daemon: { ...draft.daemon, interface: draft.daemon.interface || defaultInterface },
      };
    case 'stop-daemon':
      return { kind: 'stop-daemon', role: draft.daemon.role };
  }
}

function idOf(draft: Draft): ServiceId {
  if (!draft.id) throw badArgument("You need to supply the 'service-address' option");
  return draft.id;
}

function buildService(draft: Draft): VirtualService {
  const id = idOf(draft);
  const persistent = draft.persistentSeconds !== undefined;
  if (id.kind === 'address' && id.port === 0 && !persistent)
    throw badArgument('Zero port specified for non-persistent service');
  if (draft.onePacket && id.kind === 'address' && id.protocol !== 'udp') {
    throw badArgument('One-Packet Scheduling is only for UDP virtual services');
  }
  return {
    id,
    // Names no scheduler bears are the data plane's to refuse: it knows whether the service exists, which comes first.
    scheduler: (draft.scheduler || defaultScheduler) as SchedulerName,
    schedulerFlags: draft.flags,
    ...(draft.persistentSeconds === undefined
      ? {}
      : {
          persistence: {
            timeoutSeconds: draft.persistentSeconds,
            netmask: draft.netmask ?? 0xffffffff,
            ...(draft.engine === '' ? {} : { engine: draft.engine }),
          },
        }),
    onePacket: draft.onePacket,
  };
}

function buildDestination(draft: Draft): Destination {
  const id = idOf(draft);
  const { address, port } = serverOf(draft);
  const tunnelOptions = [...draft.given].some((name) => name.startsWith('tun-'));
  const family = id.kind === 'fwmark' ? id.family : familyOf(id.address);
  if (familyOf(address) !== family && draft.method !== 'tunnel') {
    throw badArgument('Different address family is allowed only for tunneling servers');
  }
  if (tunnelOptions && draft.method !== 'tunnel')
    throw badArgument('Tunnel options conflict with forward method');
  if (
    (draft.given.has('local-addresses') || draft.given.has('client-address')) &&
    draft.method !== 'full-nat'
  )
    throw badArgument('Full NAT options conflict with forward method');
  checkTunnelOptions(draft.tunnelType, draft.given);
  return {
    address,
    // Only masquerading can change the port: the other methods leave the packet as it is. A mark has no port.
    port: id.kind === 'address' && !translates(draft.method) ? id.port : port,
    method: draft.method,
    weight: draft.weight,
    upperThreshold: draft.upperThreshold,
    lowerThreshold: draft.lowerThreshold,
    ...(draft.method === 'tunnel' ? { tunnel: buildTunnel(draft) } : {}),
    ...(draft.method === 'full-nat' ? { fullNat: draft.fullNat } : {}),
  };
}

function serverOf(draft: Draft): DestinationId {
  if (!draft.server) throw badArgument("You need to supply the 'real-server' option");
  return draft.server;
}

function buildTunnel(draft: Draft): Tunnel {
  const checksum = draft.given.has('tun-csum')
    ? 'checksum'
    : draft.given.has('tun-remcsum')
      ? 'remote'
      : 'none';
  return { type: draft.tunnelType, port: draft.tunnelPort, checksum };
}

function buildTimeouts(draft: Draft): { tcp?: number; tcpFin?: number; udp?: number } {
  const [tcp = 0, tcpFin = 0, udp = 0] = draft.timeouts ?? [];
  return {
    ...(tcp === 0 ? {} : { tcp }),
    ...(tcpFin === 0 ? {} : { tcpFin }),
    ...(udp === 0 ? {} : { udp }),
  };
}

// ipvsadm does not tell an all-zero address from none.
const isEverything = (id: ServiceId): boolean =>
  id.kind === 'address' && id.port === 0 && (id.address === '0.0.0.0' || id.address === '::');

function buildList({ given, formats, id }: Draft): Command {
  const has = (...names: string[]): boolean => names.some((name) => given.has(name));
  if (
    (has('connection', 'timeout', 'daemon') && has('stats', 'rate', 'thresholds')) ||
    (has('timeout', 'daemon') && has('persistent-conn'))
  ) {
    throw badArgument('options conflicts in the list command');
  }
  const options: ListOptions = {
    format: listFormats.find((format) => formats.has(format)) ?? 'default',
    numeric: has('numeric'),
    exact: has('exact'),
    sorted: !has('nosort'),
    engines: has('persistent-conn'),
  };
  if (has('connection')) return { kind: 'list', what: 'connections', options };
  if (id) return { kind: 'list', what: 'service', id, options };
  return { kind: 'list', what: has('timeout') ? 'timeouts' : has('daemon') ? 'daemons' : 'table', options };
}
