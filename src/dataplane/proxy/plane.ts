import { type Address, addressToBytes } from '../../model/address.ts';
import { among, oneBatch } from '../../model/connection-batches.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Operation, Refusal } from '../../model/table.ts';
import {
  type Destination,
  type ServiceId,
  translates,
  type VirtualService,
} from '../../model/virtual-service.ts';
import { whenGoneOf } from '../../model/when-gone.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Failures, Workshop } from '../userspace/admission.ts';
import { createEngine, type Listener } from '../userspace/engine.ts';
import type { Pool } from '../userspace/pool.ts';
import { estimationMs } from '../userspace/traffic.ts';
import { affordableConnections, ownLimits } from './descriptors.ts';
import type { ProxyProtocolVersion } from './proxy-protocol.ts';
import { listenTcp, type TcpOptions } from './tcp.ts';
import { listenUdp } from './udp.ts';

/** Connections the plane holds when nobody says otherwise, if there are file descriptors for so many. */
const defaultProxyConnections = 65_536;

export type ProxyOptions = {
  /** Connections and persistence templates at one time; fewer where file descriptors are. New ones are refused beyond. */
  readonly connections?: number;
  /** What TCP real servers are told about the client; left out: nothing. */
  readonly proxyProtocol?: ProxyProtocolVersion;
  /** How long a real server may take to accept a connection. */
  readonly connectTimeoutMs?: number;
};

export type ProxyPlane = DataPlane & {
  /** What could not be done for clients since the plane was opened. */
  failures(): Readonly<Failures>;
};

const defaultConnectTimeoutMs = 5000;
const sweepMs = 1000;
const scheduleTickMs = 60_000;

/**
 * Forwards in this process, on ordinary sockets: no privilege, no kernel feature. It forwards until `close`, which ends
 * every connection; nothing outlives the process. docs/proxy.md says what differs from the planes in the kernel.
 */
export function openProxyPlane(options: ProxyOptions = {}): ProxyPlane {
  const tcpOptions = {
    connectTimeoutMs: options.connectTimeoutMs ?? defaultConnectTimeoutMs,
    proxyProtocol: options.proxyProtocol,
  };
  const engine = createEngine({
    connections: affordableConnections(options.connections ?? defaultProxyConnections, ownLimits()),
    nowMs: () => performance.now(),
    random: (bound) => Math.floor(Math.random() * bound),
    checkSupport,
    listen: (workshop, pool) => listen(workshop, pool, tcpOptions),
    // A socket cannot be silent as the kernel is, for it goes on acknowledging: clients see that they were cut off.
    removed: ({ table }, member) => {
      if (whenGoneOf(member.pool.service) === 'keep') return;
      for (const flow of table.flows) if (flow.member === member) flow.abort();
    },
  });
  const timers = [
    setInterval(engine.expire, sweepMs),
    setInterval(engine.estimate, estimationMs),
    setInterval(engine.tick, scheduleTickMs),
  ];
  for (const timer of timers) timer.unref();

  return {
    capabilities: { name: 'proxy', description: `sockets of process ${process.pid}` },
    read: async () => engine.read(),
    apply: engine.apply,
    connections: (filter) => oneBatch(among(engine.connections(), filter)),
    outcomes: async () => engine.outcomes(),
    activity: async () => {
      const { tableFull, noDestination, connectFailed, datagramsDropped, acceptFailed } = engine.failures();
      return {
        entries: engine.workshop.table.flows.size,
        events: {
          table_full: BigInt(tableFull),
          no_destination: BigInt(noDestination),
          connect_failed: BigInt(connectFailed),
          datagram_dropped: BigInt(datagramsDropped),
          accept_failed: BigInt(acceptFailed),
        },
      };
    },
    close: stop,
    cleanUp: stop,
    failures: engine.failures,
  };

  async function stop(): Promise<void> {
    await engine.stop();
    for (const timer of timers) clearInterval(timer);
  }
}

async function listen(workshop: Workshop, pool: Pool, options: TcpOptions): Promise<Listener | Refusal> {
  const { id } = pool.service;
  if (id.kind !== 'address') return checkService(pool.service)!;
  const { protocol, address, port } = id;
  const virtual = { address, port };
  try {
    return await (protocol === 'tcp'
      ? listenTcp(workshop, pool, virtual, options)
      : listenUdp(workshop, pool, virtual));
  } catch (error) {
    return { reason: 'invalid', detail: `cannot listen on ${serviceKey(id)}: ${whyNot(error)}` };
  }
}

/** What the model allows and sockets cannot do. */
function checkSupport(operation: Operation): Refusal | undefined {
  if (operation.kind === 'add-service' || operation.kind === 'edit-service')
    return checkService(operation.service);
  if (operation.kind === 'add-destination' || operation.kind === 'edit-destination')
    return checkDestination(operation.id, operation.destination);
  if (operation.kind === 'set-sysctls' && operation.sysctls.pmtu_disc !== undefined)
    return unsupported('sockets have no tunnels');
  return undefined;
}

function checkService({ id, persistence }: VirtualService): Refusal | undefined {
  if (id.kind === 'fwmark') return unsupported('a socket does not see firewall marks');
  if (id.protocol === 'sctp') return unsupported('there are no SCTP sockets here: wanted tcp or udp');
  if (isWildcard(id.address))
    return unsupported(`a virtual service has an address of its own: found ${id.address}, every address`);
  if (id.port === 0) return unsupported('a socket listens on one port: found port 0, every port');
  if (persistence?.engine !== undefined)
    return unsupported(`there is no persistence engine "${persistence.engine}": wanted none`);
  return undefined;
}

function checkDestination(id: ServiceId, destination: Destination): Refusal | undefined {
  if (!translates(destination.method))
    return unsupported(`method ${destination.method} needs the kernel: wanted masquerade (-m) or full-nat`);
  if (destination.fullNat?.clientAddress === 'tcp-option')
    return unsupported(
      'a socket cannot give segments an option: wanted clientAddress proxy-protocol or hidden',
    );
  if (id.kind === 'address' && id.protocol === 'udp' && destination.fullNat?.localAddresses.length)
    return unsupported('datagrams leave from the address that the route prefers: wanted no local addresses');
  const itself = id.kind === 'address' && destinationKey(id) === destinationKey(destination);
  if (itself)
    return unsupported(`${destinationKey(destination)} is the virtual service itself: it would call itself`);
  if (destination.port === 0) return unsupported('a real server is reached on one port: found port 0');
  return undefined;
}

function isWildcard(address: Address): boolean {
  return addressToBytes(address).every((byte) => byte === 0);
}

function unsupported(detail: string): Refusal {
  return { reason: 'invalid', detail: `the proxy data plane cannot do this: ${detail}` };
}

function whyNot(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'EACCES':
      return 'EACCES, this user may not use the port; those below 1024 take root or CAP_NET_BIND_SERVICE';
    case 'EADDRNOTAVAIL':
      return 'EADDRNOTAVAIL, this host does not have the address';
    case 'EADDRINUSE':
      return 'EADDRINUSE, another program listens there';
    default:
      return code ?? message;
  }
}
