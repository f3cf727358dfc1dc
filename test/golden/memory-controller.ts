import type { Controller } from '../../src/control/controller.ts';
import { applyOperation } from '../../src/model/apply-operation.ts';
import { among, oneBatch } from '../../src/model/connection-batches.ts';
import { type RunningSync, syncMaxLength } from '../../src/model/connection-sync.ts';
import { destinationKey, serviceKey } from '../../src/model/service-id.ts';
import type { Connection, Counters, Observed, Operation, Table } from '../../src/model/table.ts';
import { checkOperation } from '../../src/model/validate.ts';
import type { Timeouts } from '../../src/model/virtual-service.ts';

/** Counts a test wants to see in listings, by `serviceKey` and `serviceKey destinationKey`. */
export type Counts = {
  readonly counters: ReadonlyMap<string, Counters>;
  readonly rates: ReadonlyMap<string, Counters>;
  readonly connections: ReadonlyMap<
    string,
    { readonly active: number; readonly inactive: number; readonly persistent: number }
  >;
};

export type MemoryController = Controller & {
  /** Replaces what the next listings show besides the table. */
  observe(counts: Counts, connections: readonly Connection[]): void;
  readonly closed: () => boolean;
};

const nothing: Counters = { connections: 0n, packetsIn: 0n, packetsOut: 0n, bytesIn: 0n, bytesOut: 0n };
const noConnections = { active: 0, inactive: 0, persistent: 0 };

/** A data plane that keeps the table by the model's rules and moves no packet. */
export function memoryController(timeouts: Timeouts = { tcp: 900, tcpFin: 120, udp: 300 }): MemoryController {
  let table: Table = { services: [] };
  let current = timeouts;
  let counts: Counts = { counters: new Map(), rates: new Map(), connections: new Map() };
  let rows: readonly Connection[] = [];
  const running: RunningSync[] = [];
  let closed = false;

  function apply(operation: Operation): ReturnType<typeof checkOperation> {
    const refusal = checkOperation(operation, table);
    if (refusal) return refusal;
    table = applyOperation(table, operation);
    if (operation.kind === 'set-timeouts') current = { ...current, ...operation.timeouts };
    return undefined;
  }

  function read(): Observed {
    const countsOf = (key: string) => ({
      counters: counts.counters.get(key) ?? nothing,
      rates: counts.rates.get(key) ?? nothing,
    });
    const services = table.services.map(({ service, destinations }) => {
      const key = serviceKey(service.id);
      return {
        service,
        ...countsOf(key),
        destinations: destinations.map((destination) => {
          const place = `${key} ${destinationKey(destination)}`;
          const { active, inactive, persistent } = counts.connections.get(place) ?? noConnections;
          return {
            destination,
            ...countsOf(place),
            activeConnections: active,
            inactiveConnections: inactive,
            persistentConnections: persistent,
          };
        }),
      };
    });
    return { services, timeouts: current, connectionTableSize: 4096 };
  }

  return {
    capabilities: { name: 'memory', description: 'a table in memory' },
    read: async () => read(),
    apply: async (operations) => operations.map(apply),
    connections: (filter) => oneBatch(among(rows, filter)),
    startSync: async (settings) => {
      if (running.some(({ role }) => role === settings.role)) return { reason: 'running', detail: '' };
      if (settings.interface !== 'lo') return { reason: 'no-interface', detail: '' };
      // The loopback device's MTU.
      running.push({ ...settings, maxLength: syncMaxLength(settings, 65_536) });
      return undefined;
    },
    stopSync: async (wanted) => {
      const at = running.findIndex(({ role }) => role === wanted);
      if (at < 0) return { reason: 'not-running', detail: '' };
      running.splice(at, 1);
      return undefined;
    },
    syncDaemons: async () => running,
    close: async () => {
      closed = true;
    },
    observe: (newCounts, newRows) => {
      counts = newCounts;
      rows = newRows;
    },
    closed: () => closed,
  };
}
