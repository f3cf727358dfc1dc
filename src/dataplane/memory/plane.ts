import { among, oneBatch } from '../../model/connection-batches.ts';
import { nextTcpState, tcpStateNames, udpStateNames } from '../../model/connection-states.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import { type DestinationId, translates } from '../../model/virtual-service.ts';
import { whenGoneOf } from '../../model/when-gone.ts';
import type { DataPlane } from '../data-plane.ts';
import { admit, type Failures } from '../userspace/admission.ts';
import type { Flow } from '../userspace/connection-table.ts';
import { createEngine } from '../userspace/engine.ts';
import type { Pool } from '../userspace/pool.ts';
import { estimationMs } from '../userspace/traffic.ts';

export type MemoryOptions = {
  /** Connections and persistence templates at one time. */
  readonly connections?: number;
  /** A uniformly random integer in [0, bound). */
  readonly random?: (bound: number) => number;
};

/** What a packet is to: a virtual address, with the mark a firewall gave it. */
export type Virtual = DestinationId & { readonly protocol: 'tcp' | 'udp'; readonly mark?: number };

/** Flag bits of a TCP segment (RFC 9293, 3.1). */
export const tcpFlags = { fin: 0x01, syn: 0x02, rst: 0x04, ack: 0x10 } as const;

/** One segment or datagram of a connection. */
export type MemoryPacket = {
  readonly direction: 'in' | 'out';
  /** Of layer 3. */
  readonly bytes: number;
  /** TCP: flag bits. */
  readonly flags?: number;
};

/** What became of a packet: `dropped` is for nobody, `reset` for the sender, who is told that its connection has ended. */
export type MemoryVerdict =
  | { readonly kind: 'forwarded'; readonly to: DestinationId }
  | { readonly kind: 'dropped' | 'refused' | 'reset' | 'not-ours' };

export type MemoryPlane = DataPlane & {
  /** A packet between a client and a virtual address. */
  packet(client: DestinationId, virtual: Virtual, packet: MemoryPacket): MemoryVerdict;
  /** Lets time pass: connections expire, rates are estimated. */
  advance(ms: number): void;
  failures(): Readonly<Failures>;
};

const defaultConnections = 1 << 20;
const stepMs = 1000;
const tickMs = 60_000;

/**
 * A plane that forwards nothing: the same rules as the planes that do, over packets that are told to it and a clock that
 * is moved by hand. For tests, and to try a change before it is made.
 */
export function openMemoryPlane(options: MemoryOptions = {}): MemoryPlane {
  let clockMs = 0;
  const flows = new Map<string, Flow>();
  const engine = createEngine({
    connections: options.connections ?? defaultConnections,
    nowMs: () => clockMs,
    random: options.random ?? ((bound) => Math.floor(Math.random() * bound)),
    checkSupport: () => undefined,
    listen: async () => ({ close: () => undefined }),
    // As the kernel: connections stay, for the next packet to meet their fate.
    removed: () => undefined,
  });
  const { workshop } = engine;
  const { table, pools } = workshop;

  return {
    capabilities: { name: 'memory', description: 'rules, connections and time of this process alone' },
    read: async () => engine.read(),
    apply: engine.apply,
    connections: (filter) => oneBatch(among(engine.connections(), filter)),
    close: engine.stop,
    cleanUp: engine.stop,
    failures: engine.failures,
    packet,
    advance(ms) {
      const untilMs = clockMs + ms;
      while (clockMs < untilMs) {
        const dueMs = Math.min(untilMs, (Math.floor(clockMs / stepMs) + 1) * stepMs);
        clockMs = dueMs;
        if (dueMs % stepMs === 0) engine.expire();
        if (dueMs % estimationMs === 0) engine.estimate();
        if (dueMs % tickMs === 0) engine.tick();
      }
    },
  };

  function packet(client: DestinationId, virtual: Virtual, packet: MemoryPacket): MemoryVerdict {
    const key = `${virtual.protocol} ${destinationKey(client)} ${destinationKey(virtual)}`;
    const found = flows.get(key);
    const known = found && isReuse(found, packet) ? forget(found) : found;
    if (known && (known.member.available || packet.direction === 'out')) return forward(known, packet);
    if (known) {
      const fate = meetFate(known, packet);
      if (fate) return fate;
      known.abort();
    }
    const pool = findPool(virtual);
    if (!pool || packet.direction === 'out') return { kind: 'not-ours' };
    if (isForEveryPort(pool) && !pool.service.persistence) return { kind: 'refused' };
    if (virtual.protocol === 'tcp' && !hasFlag(packet, tcpFlags.syn)) return { kind: 'not-ours' };
    const admitted = admit(workshop, pool, client, virtual);
    if (!admitted) return { kind: 'refused' };
    const { member, template } = admitted;
    const flow: Flow = {
      protocol: virtual.protocol,
      client,
      virtual: { address: virtual.address, port: virtual.port },
      member,
      template,
      state: firstState(virtual.protocol, packet.flags ?? 0),
      lastSeenMs: clockMs,
      abort: () => {
        flows.delete(key);
        table.leave(flow);
      },
    };
    table.enter(flow);
    flows.set(key, flow);
    const verdict = forward(flow, packet);
    if (pool.service.onePacket && virtual.protocol === 'udp') flow.abort();
    return verdict;
  }

  /** As bpf/fate.h; undefined: the connection ends, and the packet is one without a connection. */
  function meetFate(flow: Flow, packet: MemoryPacket): MemoryVerdict | undefined {
    const whenGone = whenGoneOf(flow.member.pool.service);
    if (whenGone === 'keep') return forward(flow, packet);
    if (whenGone === 'drop') return { kind: 'dropped' };
    const opens = flow.protocol === 'tcp' && hasFlag(packet, tcpFlags.syn) && !hasFlag(packet, tcpFlags.rst);
    if (whenGone === 'expire' || opens) return undefined;
    flow.abort();
    return { kind: 'reset' };
  }

  function forward(flow: Flow, { direction, bytes, flags }: MemoryPacket): MemoryVerdict {
    table.carried(flow, direction, bytes);
    if (flow.protocol === 'tcp') {
      const masquerade = translates(flow.member.destination.method);
      const seen = direction === 'out' ? 'output' : masquerade ? 'input' : 'input-only';
      table.move(flow, nextTcpState(flow.state, seen, flags ?? 0));
    }
    return { kind: 'forwarded', to: { address: flow.member.address, port: realPort(flow) } };
  }

  /** A mark comes before the address, and the address with its port before the one with every port (ip_vs_service_find). */
  function findPool({ protocol, address, port, mark }: Virtual): Pool | undefined {
    const family = address.includes(':') ? 6 : 4;
    const ids = [
      ...(mark === undefined ? [] : [{ kind: 'fwmark', mark, family } as const]),
      { kind: 'address', protocol, address, port } as const,
      { kind: 'address', protocol, address, port: 0 } as const,
    ];
    for (const id of ids) {
      const pool = pools.get(serviceKey(id));
      if (pool) return pool;
    }
    return undefined;
  }
}

function isForEveryPort({ service: { id } }: Pool): boolean {
  return id.kind === 'address' && id.port === 0;
}

/** The real server's port stands for the service's; behind a service for every port the client's choice stays. */
function realPort({ member, virtual }: Flow): number {
  const { id } = member.pool.service;
  return id.kind === 'address' && id.port === virtual.port ? member.port : virtual.port;
}

function firstState(protocol: 'tcp' | 'udp', flags: number): number {
  if (protocol === 'udp') return udpStateNames.indexOf('UDP');
  return nextTcpState(tcpStateNames.indexOf('NONE'), 'input', flags);
}

/** A SYN on a connection that has ended opens another (conn_reuse_mode 1), unless a template rules it. */
function isReuse({ protocol, state, template }: Flow, packet: MemoryPacket): boolean {
  if (template) return false;
  const ended = [tcpStateNames.indexOf('TIME_WAIT'), tcpStateNames.indexOf('CLOSE')].includes(state);
  return protocol === 'tcp' && packet.direction === 'in' && ended && hasFlag(packet, tcpFlags.syn);
}

function forget(flow: Flow): undefined {
  flow.abort();
}

function hasFlag({ flags = 0 }: MemoryPacket, bit: number): boolean {
  return (flags & bit) !== 0;
}
