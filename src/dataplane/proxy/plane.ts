import { applyOperation } from '../../model/apply-operation.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Observed, Operation, Refusal, Table } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import type { Destination, ServiceId, VirtualService } from '../../model/virtual-service.ts';
import type { DataPlane } from '../data-plane.ts';
import type { Failures, Workshop } from './admission.ts';
import { createConnectionTable } from './connection-table.ts';
import { addMember, createPool, editMember, editService, type Pool, removeMember } from './pool.ts';
import type { ProxyProtocolVersion } from './proxy-protocol.ts';
import { type Listener, listenTcp } from './tcp.ts';
import { estimateRates, estimationMs, shownTraffic, zeroTraffic } from './traffic.ts';
import { listenUdp } from './udp.ts';

/** Connections the plane holds when nobody says otherwise; each takes two file descriptors. */
export const defaultProxyConnections = 65_536;

export type ProxyOptions = {
  /** Connections and persistence templates at one time; new ones are refused beyond. */
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

type Entry = { readonly pool: Pool; readonly listener: Listener };

/**
 * Forwards in this process, on ordinary sockets: no privilege, no kernel feature. It forwards until `close`, which ends
 * every connection; nothing outlives the process. docs/proxy.md says what differs from the planes in the kernel.
 */
export function openProxyPlane(options: ProxyOptions = {}): ProxyPlane {
  const entries = new Map<string, Entry>();
  const pools = new Map<string, Pool>();
  const nowMs = () => performance.now();
  const connections = createConnectionTable(options.connections ?? defaultProxyConnections, nowMs);
  const workshop: Workshop = {
    table: connections,
    pools,
    failures: { tableFull: 0, noDestination: 0, connectFailed: 0, datagramsDropped: 0, acceptFailed: 0 },
    nowMs,
    random: (bound) => Math.floor(Math.random() * bound),
  };
  const tcpOptions = {
    connectTimeoutMs: options.connectTimeoutMs ?? defaultConnectTimeoutMs,
    proxyProtocol: options.proxyProtocol,
  };
  /** The same rules in the model's form, to ask for refusals. */
  let table: Table = { services: [] };
  let timers: readonly NodeJS.Timeout[] = [];
  /** The end of the last series of operations: they are applied one series after the other. */
  let last: Promise<unknown> = Promise.resolve();

  return {
    capabilities: { name: 'proxy', description: `sockets of process ${process.pid}` },
    read: async () => read(),
    apply: (operations) => {
      const result = last.then(() => applyAll(operations));
      last = result.catch(() => undefined);
      return result;
    },
    connections: async () => connections.rows(pools.values()),
    close: stop,
    cleanUp: stop,
    failures: () => ({ ...workshop.failures }),
  };

  async function stop(): Promise<void> {
    await last;
    table = { services: [] };
    for (const key of [...entries.keys()]) endService(key);
    for (const timer of timers) clearInterval(timer);
    timers = [];
  }

  async function applyAll(operations: readonly Operation[]): Promise<(Refusal | undefined)[]> {
    const refusals: (Refusal | undefined)[] = [];
    for (const operation of operations) {
      const refusal = checkOperation(operation, table) ?? checkSupport(operation) ?? (await apply(operation));
      if (!refusal) table = applyOperation(table, operation);
      refusals.push(refusal);
    }
    return refusals;
  }

  async function apply(operation: Operation): Promise<Refusal | undefined> {
    switch (operation.kind) {
      case 'add-service':
        return startService(operation.service);
      case 'edit-service':
        editService(poolOf(operation.service.id), operation.service);
        return undefined;
      case 'delete-service':
        endService(serviceKey(operation.id));
        return undefined;
      case 'add-destination':
        addMember(poolOf(operation.id), operation.destination, nowMs());
        return undefined;
      case 'edit-destination':
        editMember(poolOf(operation.id), operation.destination);
        return undefined;
      case 'delete-destination': {
        const member = removeMember(poolOf(operation.id), operation.destination, nowMs());
        for (const flow of connections.flows) if (flow.member === member) flow.abort();
        return undefined;
      }
      case 'set-timeouts':
        connections.setTimeouts(operation.timeouts);
        return undefined;
      case 'zero':
        for (const pool of operation.id ? [poolOf(operation.id)] : pools.values())
          for (const { traffic } of [pool, ...pool.members]) zeroTraffic(traffic);
        return undefined;
      case 'flush':
        for (const key of [...entries.keys()]) endService(key);
        return undefined;
    }
  }

  function poolOf(id: ServiceId): Pool {
    return pools.get(serviceKey(id))!;
  }

  async function startService(service: VirtualService): Promise<Refusal | undefined> {
    const key = serviceKey(service.id);
    const pool = createPool(service);
    const isTcp = service.id.kind === 'address' && service.id.protocol === 'tcp';
    try {
      const listener = await (isTcp ? listenTcp(workshop, pool, tcpOptions) : listenUdp(workshop, pool));
      entries.set(key, { pool, listener });
      pools.set(key, pool);
    } catch (error) {
      return { reason: 'invalid', detail: `cannot listen on ${key}: ${whyNot(error)}` };
    }
    if (timers.length === 0) {
      timers = [
        setInterval(() => connections.expire(pools.values()), sweepMs),
        setInterval(estimate, estimationMs),
        setInterval(() => {
          for (const { scheduling } of pools.values()) scheduling.tick(nowMs());
        }, scheduleTickMs),
      ];
      for (const timer of timers) timer.unref();
    }
    return undefined;
  }

  function endService(key: string): void {
    const { pool, listener } = entries.get(key)!;
    entries.delete(key);
    pools.delete(key);
    // In this order: a connection's end may still want to use the socket.
    for (const flow of connections.flows) if (flow.pool === pool) flow.abort();
    listener.close();
  }

  function estimate(): void {
    for (const pool of pools.values())
      for (const { traffic } of [pool, ...pool.members]) estimateRates(traffic);
  }

  function read(): Observed {
    return {
      services: [...pools.values()].map((pool) => ({
        service: pool.service,
        ...shownTraffic(pool.traffic),
        destinations: pool.members.toReversed().map((member) => ({
          destination: member.destination,
          activeConnections: member.active,
          inactiveConnections: member.total - member.active,
          persistentConnections: [...pool.templates.values()].filter((template) => template.member === member)
            .length,
          ...shownTraffic(member.traffic),
        })),
      })),
      timeouts: connections.timeouts(),
      connectionTableSize: connections.size,
    };
  }
}

/** What the model allows and sockets cannot do. */
function checkSupport(operation: Operation): Refusal | undefined {
  if (operation.kind === 'add-service' || operation.kind === 'edit-service')
    return checkService(operation.service);
  if (operation.kind === 'add-destination' || operation.kind === 'edit-destination')
    return checkDestination(operation.id, operation.destination);
  return undefined;
}

function checkService({ id, persistence }: VirtualService): Refusal | undefined {
  if (id.kind === 'fwmark') return unsupported('a socket does not see firewall marks');
  if (id.protocol === 'sctp') return unsupported('there are no SCTP sockets here: wanted tcp or udp');
  if (id.port === 0) return unsupported('a socket listens on one port: found port 0, every port');
  if (persistence?.engine !== undefined)
    return unsupported(`there is no persistence engine "${persistence.engine}": wanted none`);
  return undefined;
}

function checkDestination(id: ServiceId, destination: Destination): Refusal | undefined {
  if (destination.method !== 'masquerade')
    return unsupported(`method ${destination.method} needs the kernel: wanted masquerade (-m)`);
  const itself = id.kind === 'address' && destinationKey(id) === destinationKey(destination);
  if (itself)
    return unsupported(`${destinationKey(destination)} is the virtual service itself: it would call itself`);
  if (destination.port === 0) return unsupported('a real server is reached on one port: found port 0');
  return undefined;
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
