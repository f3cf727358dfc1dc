import { applyOperation } from '../../model/apply-operation.ts';
import type { MemberOutcomes } from '../../model/outcome.ts';
import { serviceKey } from '../../model/service-id.ts';
import {
  type SysctlName,
  type Sysctls,
  sysctlDefaults,
  sysctlText,
  sysctlTitle,
} from '../../model/sysctls.ts';
import type { Connection, Observed, Operation, Refusal, Table } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import type { ServiceId, VirtualService } from '../../model/virtual-service.ts';
import { normaliseService } from '../../model/when-gone.ts';
import type { Failures, Workshop } from './admission.ts';
import { createConnectionTable } from './connection-table.ts';
import {
  addMember,
  createPool,
  editMember,
  editService,
  forgetDeleted,
  type Member,
  type Pool,
  removeMember,
} from './pool.ts';
import { estimateRates, shownTraffic, zeroTraffic } from './traffic.ts';

/** What takes a virtual service's clients; `close` takes no more of them. */
export type Listener = { close(): void };

/** How a plane that keeps its rules in this process differs from the next one. */
export type EngineOptions = {
  /** Connections and persistence templates at one time; new ones are refused beyond. */
  readonly connections: number;
  /** Any steady clock, milliseconds. */
  readonly nowMs: () => number;
  /** A uniformly random integer in [0, bound). */
  readonly random: (bound: number) => number;
  /** What the model allows and this plane cannot do. */
  readonly checkSupport: (operation: Operation) => Refusal | undefined;
  /** Begins to take clients of a service; a refusal when it cannot. */
  readonly listen: (workshop: Workshop, pool: Pool) => Promise<Listener | Refusal>;
  /** A destination was deleted: what becomes of its connections. */
  readonly removed: (workshop: Workshop, member: Member) => void;
};

/** Rules, connections and counts of a plane in this process; who brings the packets is the plane's business. */
export type Engine = {
  readonly workshop: Workshop;
  /** As DataPlane has it; series are applied one after the other. */
  apply(operations: readonly Operation[]): Promise<(Refusal | undefined)[]>;
  read(): Observed;
  connections(): Connection[];
  /** As DataPlane has it. */
  outcomes(): MemberOutcomes[];
  failures(): Readonly<Failures>;
  /** Forgets what was idle too long. Due every second. */
  expire(): void;
  /** Estimates rates. Due every two seconds. */
  estimate(): void;
  /** What schedulers do now and then. Due every minute. */
  tick(): void;
  /** Forgets every rule and ends every connection, after the operations that are under way. */
  stop(): Promise<void>;
};

type Entry = { readonly pool: Pool; readonly listener: Listener };

/** An engine without rules. */
export function createEngine(options: EngineOptions): Engine {
  const { nowMs, random } = options;
  const entries = new Map<string, Entry>();
  const pools = new Map<string, Pool>();
  const table = createConnectionTable(options.connections, nowMs);
  const workshop: Workshop = {
    table,
    pools,
    failures: { tableFull: 0, noDestination: 0, connectFailed: 0, datagramsDropped: 0, acceptFailed: 0 },
    sysctls: { ...sysctlDefaults },
    nowMs,
    random,
  };
  /** Deleted destinations of each service, present or not: one that comes back has its connections again. */
  const deleted = new Map<string, Pool['deleted']>();
  /** The same rules in the model's form, to ask for refusals. */
  let rules: Table = { services: [] };
  /** The end of the last series of operations. */
  let last: Promise<unknown> = Promise.resolve();

  return {
    workshop,
    apply: (operations) => {
      const result = last.then(() => applyAll(operations));
      last = result.catch(() => undefined);
      return result;
    },
    read,
    connections: () => table.rows(pools.values()),
    outcomes: () =>
      [...pools.values()].flatMap(({ service, members, deleted }) =>
        [...members, ...[...deleted.values()].map(({ member }) => member)].map(
          ({ address, port, outcomes }) => ({
            ...{ service: service.id, destination: { address, port } },
            ...outcomes,
          }),
        ),
      ),
    failures: () => ({ ...workshop.failures }),
    expire: () => {
      table.expire(pools.values());
      for (const [key, members] of deleted) {
        forgetDeleted(members, nowMs());
        if (members.size === 0 && !pools.has(key)) deleted.delete(key);
      }
    },
    estimate: () => {
      for (const { traffic } of everyPoolAndMember()) estimateRates(traffic);
    },
    tick: () => {
      for (const { scheduling } of pools.values()) scheduling.tick(nowMs());
    },
    // In its turn behind the operations under way, so that none of them opens anything afterwards.
    stop() {
      const stopped = last.then(() => {
        rules = { services: [] };
        for (const key of [...entries.keys()]) endService(key);
        for (const flow of [...table.flows]) flow.abort();
      });
      last = stopped;
      return stopped;
    },
  };

  async function applyAll(operations: readonly Operation[]): Promise<(Refusal | undefined)[]> {
    const refusals: (Refusal | undefined)[] = [];
    for (const operation of operations) {
      const refusal =
        checkOperation(operation, rules) ??
        checkSysctls(operation) ??
        options.checkSupport(operation) ??
        (await apply(operation));
      if (!refusal) rules = applyOperation(rules, operation);
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
      case 'delete-destination':
        options.removed(workshop, removeMember(poolOf(operation.id), operation.destination, nowMs()));
        return undefined;
      case 'set-timeouts':
        table.setTimeouts(operation.timeouts);
        return undefined;
      case 'set-sysctls':
        Object.assign(workshop.sysctls, operation.sysctls);
        return undefined;
      case 'zero': {
        const zeroed = operation.id ? withMembers(poolOf(operation.id)) : everyPoolAndMember();
        for (const { traffic } of zeroed) zeroTraffic(traffic);
        return undefined;
      }
      case 'flush':
        for (const key of [...entries.keys()]) endService(key);
        return undefined;
    }
  }

  function poolOf(id: ServiceId): Pool {
    return pools.get(serviceKey(id))!;
  }

  function withMembers(pool: Pool): (Pool | Member)[] {
    return [pool, ...pool.members];
  }

  function everyPoolAndMember(): (Pool | Member)[] {
    return [...pools.values()].flatMap(withMembers);
  }

  async function startService(service: VirtualService): Promise<Refusal | undefined> {
    const key = serviceKey(service.id);
    const pool = createPool(normaliseService(service), deleted.get(key) ?? new Map());
    const listener = await options.listen(workshop, pool);
    if ('reason' in listener) return listener;
    deleted.set(key, pool.deleted);
    entries.set(key, { pool, listener });
    pools.set(key, pool);
    return undefined;
  }

  function endService(key: string): void {
    const { pool, listener } = entries.get(key)!;
    entries.delete(key);
    pools.delete(key);
    // In this order: a connection's end may still want to use the socket.
    for (const member of [...pool.members]) options.removed(workshop, removeMember(pool, member, nowMs()));
    listener.close();
  }

  function read(): Observed {
    const held = new Map<Member, number>();
    for (const { templates } of pools.values())
      for (const { member } of templates.values()) held.set(member, (held.get(member) ?? 0) + 1);
    return {
      services: [...pools.values()].map((pool) => ({
        service: pool.service,
        ...shownTraffic(pool.traffic),
        destinations: pool.members.toReversed().map((member) => ({
          destination: member.destination,
          activeConnections: member.active,
          inactiveConnections: member.total - member.active,
          persistentConnections: held.get(member) ?? 0,
          ...(member.overloaded && { overloaded: true as const }),
          ...shownTraffic(member.traffic),
        })),
      })),
      timeouts: table.timeouts(),
      connectionTableSize: table.size,
    };
  }
}

/** What these planes act on; others can only be what they are. */
const actedOn: readonly string[] = ['pmtu_disc', 'expire_nodest_conn', 'expire_quiescent_template'];

function checkSysctls(operation: Operation): Refusal | undefined {
  if (operation.kind !== 'set-sysctls') return undefined;
  const set = Object.entries(operation.sysctls) as [SysctlName, Sysctls[SysctlName]][];
  const [other] = set
    .map(([name, value]) => [name, sysctlText(value), sysctlText(sysctlDefaults[name])] as const)
    .filter(([name, value, fixed]) => !actedOn.includes(name) && value !== fixed);
  return (
    other && {
      reason: 'invalid',
      detail: `this data plane does not act on ${sysctlTitle(other[0])}: wanted ${other[2]}, found ${other[1]}`,
    }
  );
}
