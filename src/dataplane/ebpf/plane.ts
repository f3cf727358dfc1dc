import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { ConnectionBatches, ConnectionFilter } from '../../model/connection-batches.ts';
import { tcpTimeoutsSeconds, udpTimeoutsSeconds } from '../../model/connection-states.ts';
import { HeadgateError } from '../../model/errors.ts';
import { serviceKey } from '../../model/service-id.ts';
import { type Sysctls, sysctlDefaults, type TableSysctls, tableSysctlNames } from '../../model/sysctls.ts';
import type { Observed, Operation, Refusal, ServiceState } from '../../model/table.ts';
import type { Totals } from '../../model/totals.ts';
import type { Timeouts } from '../../model/virtual-service.ts';
import { possibleCpus } from '../../sys/bpf/cpus.ts';
import { VerifierError } from '../../sys/bpf/errors.ts';
import type { LoadedObject } from '../../sys/bpf/load.ts';
import { unlessGone } from '../../sys/bpf/pin.ts';
import { ticksPerSecond } from '../../sys/clock.ts';
import { isSystemError } from '../../sys/ffi.ts';
import { type LinkWatch, watchLinks } from '../../sys/netlink/link-watch.ts';
import type { DataPlane, Look } from '../data-plane.ts';
import { attachEverywhere, detachEverywhere, habitation } from './attach.ts';
import { type ConnectionMaps, firstSlot, mapConnections, readSlots } from './connections.ts';
import { noCounters, openCounters, readRates, readTotals } from './counters.ts';
import type { Sizes } from './create.ts';
import type { FastPathWish } from './fast-path.ts';
import { readFtpPorts } from './ftp-ports.ts';
import {
  hasFastPath,
  type Instance,
  type leaseMaps,
  mapFile,
  markProgram,
  openInstance,
  removePins,
} from './instance.ts';
import { buildId, layoutId, numbers } from './layout.generated.ts';
import type { Mark } from './mark-routes.ts';
import type { OutcomeReader } from './outcomes.ts';
import { mapRecords } from './records.ts';
import { wakeSlices } from './slices.ts';
import { standsBack } from './stand-back.ts';
import type { TableMaps } from './table-maps.ts';
import { openTables, type Tables } from './tables.ts';

const { DESTINATION_OVERLOAD } = numbers.destination_flag;

/** Connections a table holds when nobody says otherwise. */
export const defaultConnections = 1 << 20;

export type EbpfOptions = {
  /** The bpffs, as this process reaches it. */
  readonly bpffs: string;
  /** Name of this network namespace's instance: its cookie. */
  readonly instance: string;
  /** Why it is this plane, where somebody said so. */
  readonly because?: string;
  /** Connections the table can hold, fixed when the plane is set up. */
  readonly connections?: number;
  /** What the plane is set up with in place of the defaults; mh_tab_index can only be said here. */
  readonly sysctls?: Partial<Sysctls>;
  /** Interfaces that are to run the fast path at XDP, and no others; without it those that do go on. */
  readonly fastPath?: readonly FastPathWish[];
  /** Set up so that it stands back behind the kernel's IPVS (stand-back.ts). */
  readonly standsBack?: true;
};

/**
 * The data plane of this network namespace. Nothing is set up before the first operation is applied: reading where
 * there is no plane shows an empty table. The caller holds the instance's lock, and its thread stays in this namespace:
 * the methods resume after awaiting.
 */
export function openEbpfPlane(options: EbpfOptions): DataPlane {
  const directory = join(options.bpffs, options.instance);
  let open:
    | {
        instance: Instance;
        maps: TableMaps;
        tables: Tables;
        table?: ConnectionMaps;
        outcomes?: OutcomeReader;
      }
    | undefined;
  let attached = false;
  /** A survey came first: what is broken stays as it is until something is to be changed. */
  let looking = false;
  let watch: LinkWatch | undefined;
  /** The marks that rules were arranged for. */
  let arranged: string | undefined;
  const sizes: Sizes = {
    connections: options.connections ?? defaultConnections,
    mhTableIndex: options.sysctls?.mh_tab_index ?? sysctlDefaults.mh_tab_index,
  };
  /** Programs on their way into the kernel, for an instance that is not there yet. */
  let coming: Promise<LoadedObject> | undefined;

  return {
    capabilities: {
      name: 'ebpf',
      description: `BPF programs at tc, instance ${options.instance}${options.because === undefined ? '' : `, ${options.because}`}`,
    },
    async getReady() {
      if (coming || open || existsSync(directory)) return;
      const { loadInstanceAside } = await import('./create.ts');
      coming = loadInstanceAside(sizes);
      coming.catch(() => undefined);
    },
    read: async (look) => inPlane('read the table', () => read(look)),
    apply: async (operations) => inPlane('apply a change', () => apply(operations)),
    connections,
    connectionCounts: async () =>
      inPlane('read the connections', async () => {
        const plane = await find();
        if (!plane) return [];
        plane.table ??= mapConnections(plane.instance);
        const { countConnections } = await import('./connection-counts.ts');
        return countConnections(plane.instance, plane.maps, plane.table);
      }),
    totals: async () => inPlane('read the counters', totals),
    outlook: async (id, addresses) =>
      inPlane('look at a path', async () => {
        const { memoryOf, pathsTo } = await import('./outlook.ts');
        const plane = await find();
        const entry = id && plane?.tables.listed.get(serviceKey(id));
        return { paths: pathsTo(addresses), ...(entry && memoryOf(plane!.maps, entry)) };
      }),
    outcomes: async () =>
      inPlane('read the connections', async () => {
        const plane = await find();
        if (!plane) return [];
        plane.table ??= mapConnections(plane.instance);
        if (!plane.outcomes) {
          const { openOutcomes } = await import('./outcomes.ts');
          plane.outcomes = openOutcomes(plane.instance, plane.tables, plane.table);
        }
        return await plane.outcomes.look();
      }),
    activity: async () =>
      inPlane('read what the plane is busy with', async () => {
        const plane = await find();
        return plane && (await import('./events.ts')).readActivity(plane.instance);
      }),
    survey: async () =>
      inPlane('look at the host', async () => {
        looking = true;
        const { surveyHost } = await import('./survey.ts');
        const plane = await find();
        return surveyHost(plane && { instance: plane.instance, listed: [...plane.tables.listed.values()] });
      }),
    interfacesChanged() {
      if (watch) return watch.changed();
      watch = watchLinks();
      return true;
    },
    cover: async () => inPlane('cover the interfaces', cover),
    leases: async (wanted) => inPlane('lease virtual addresses', () => leases(wanted)),
    async close() {
      close();
      await abandon();
    },
    cleanUp: async () => inPlane('remove the plane', cleanUp),
  };

  async function find() {
    const plane = open ?? (await openPlane());
    if (plane && !attached && !looking) {
      await attachEverywhere(plane.instance);
      await arrange(plane);
      if (options.fastPath || hasFastPath(directory)) {
        (await import('./fast-path.ts')).arrangeFastPath(plane.instance, options.fastPath);
      }
      attached = true;
    }
    return plane;
  }

  async function* connections(filter: ConnectionFilter = {}): ConnectionBatches {
    const slotsFrom = (first: number) =>
      inPlane('read the connections', async () => {
        const plane = first === firstSlot ? await find() : open;
        if (!plane) {
          if (first === firstSlot) return { found: [] };
          throw new HeadgateError(
            'HG_CHANGED',
            'Cannot read the connections to the end: the data plane was closed',
            {
              hint: 'Ask again: headgate get connections',
            },
          );
        }
        plane.table ??= mapConnections(plane.instance);
        return readSlots(plane.instance, plane.maps, plane.table, first, filter);
      });
    for (let first: number | undefined = firstSlot; first !== undefined; ) {
      const { found, next } = await slotsFrom(first);
      if (found.length > 0) yield found;
      first = next;
      if (next !== undefined) await setImmediate();
    }
  }

  /** Marked packets come to the program as long as there is a service for them. */
  async function arrange({ instance, tables }: { instance: Instance; tables: Tables }): Promise<void> {
    const ids = standsBack(instance) ? [] : [...tables.listed.values()].map(({ service: { id } }) => id);
    const marks = ids.flatMap((id): Mark[] => (id.kind === 'fwmark' ? [id] : []));
    const key = marks.map(({ mark, family }) => `${mark}/${family}`).join(' ');
    if (key === arranged) return;
    if (marks.length > 0 || instance.program(markProgram)) {
      if (!instance.program(markProgram)) {
        (await import('./create.ts')).addProgram(instance, markProgram);
        await attachEverywhere(instance);
      }
      (await import('./mark-routes.ts')).arrangeMarks(marks);
    }
    arranged = key;
  }

  async function cover(): Promise<readonly string[]> {
    const plane = open ?? (await openPlane());
    if (!plane) return [];
    const names = await attachEverywhere(plane.instance);
    attached = true;
    plane.tables.routesChanged();
    // Somebody may have taken the rules away.
    arranged = undefined;
    await arrange(plane);
    if (options.fastPath || hasFastPath(directory)) {
      const { arrangeFastPath, wishesWithInterface } = await import('./fast-path.ts');
      // Those whose interface has gone, or is not there yet, wait for it.
      arrangeFastPath(plane.instance, options.fastPath && wishesWithInterface(options.fastPath));
    }
    return names;
  }

  async function leases(wanted: boolean) {
    const plane = wanted ? await setUp() : await find();
    if (!plane) return undefined;
    if (!wanted) endLeases(plane.instance);
    const at = (name: (typeof leaseMaps)[number]) => join(directory, mapFile(name));
    return wanted ? { leases: at('leases'), addresses: at('leased_addresses') } : undefined;
  }

  async function openPlane() {
    let instance = openInstance(directory);
    if (!instance) return undefined;
    if (instance.settings.get(0, 'layout') !== layoutId) {
      instance.close();
      (await import('./takeover.ts')).takeOver(directory);
      instance = openInstance(directory)!;
    }
    // The loader is imported only where it has something to do: a command's start counts every module.
    if (buildId.some((word, index) => instance.settings.get(0, 'build', index) !== word)) {
      (await import('./upgrade.ts')).upgradeInstance(instance);
    }
    const maps = mapTables(instance);
    const { map, runtime } = instance;
    const wakeSweeper = () =>
      wakeSlices(map('slices'), runtime.get(0, 'tick_jiffies'), runtime.get(0, 'fresh'));
    open = { instance, maps, tables: openTables(maps, wakeSweeper) };
    return open;
  }

  async function setUp() {
    looking = false;
    const found = await find();
    if (found) return found;
    const { createInstance, loadInstanceAside } = await import('./create.ts');
    const loading = coming ?? loadInstanceAside(sizes);
    coming = undefined;
    createInstance(directory, await loading, options.standsBack);
    try {
      const made = (await find())!;
      if (options.sysctls) made.tables.apply({ kind: 'set-sysctls', sysctls: options.sysctls });
      return made;
    } catch (error) {
      // Nothing half made stays.
      await cleanUp();
      throw error;
    }
  }

  async function apply(operations: readonly Operation[]): Promise<(Refusal | undefined)[]> {
    // What changes nothing in an empty table needs no plane.
    if (!(await find()) && operations.every(({ kind }) => kind === 'flush' || kind === 'zero')) {
      return operations.map((operation) =>
        operation.kind === 'zero' && operation.id
          ? { reason: 'no-such-service', detail: 'there is no virtual service' }
          : undefined,
      );
    }
    const plane = await setUp();
    try {
      return operations.map((operation) => plane.tables.apply(operation));
    } finally {
      plane.tables.finish();
      await arrange(plane);
      const listed = [...plane.tables.listed.values()];
      const isHeard = listed.some(({ service }) => service.persistence?.engine !== undefined);
      if (isHeard || plane.instance.settings.get(0, 'callers') !== 0) {
        const { arrangeCallers } = await import('./callers.ts');
        arrangeCallers(plane.instance, listed);
      }
      if (plane.instance.settings.get(0, 'nat_icmp_send') !== 0) {
        const { arrangeRealServices } = await import('./real-services.ts');
        arrangeRealServices(plane.instance, listed);
      }
    }
  }

  async function read({ counters = true }: Look = {}): Promise<Observed> {
    const plane = await find();
    if (!plane) {
      return {
        services: [],
        timeouts: timeoutsOf((state) => tcpTimeoutsSeconds[state] ?? udpTimeoutsSeconds[0]!),
        sysctls: { ...sysctlDefaults, ...options.sysctls },
        connectionTableSize: sizes.connections,
      };
    }
    const { maps, tables } = plane;
    const { settings, destinations } = maps;
    const hertz = settings.get(0, 'hz');
    const entries = [...tables.listed.values()];
    const countersOf =
      counters === true
        ? openCounters(
            maps,
            entries.flatMap((entry) => [...entry.destinations.values()].map(({ slot }) => slot)),
          )
        : undefined;
    return {
      services: entries.map((entry): ServiceState => {
        const listed = [...entry.destinations.values()];
        const slots = counters ? listed.map(({ slot }) => slot) : [];
        const counted = countersOf?.(entry.slot, slots);
        const rates = counters ? readRates(maps, slots) : undefined;
        return {
          service: entry.service,
          counters: counted?.service ?? noCounters,
          rates: rates?.service ?? noCounters,
          destinations: listed.map(({ slot, destination }, index) => ({
            destination,
            activeConnections: destinations.get(slot, 'active'),
            inactiveConnections: destinations.get(slot, 'inactive'),
            persistentConnections: destinations.get(slot, 'persistent'),
            ...((destinations.get(slot, 'flags') & DESTINATION_OVERLOAD) !== 0 && {
              overloaded: true as const,
            }),
            counters: counted?.destinations[index] ?? noCounters,
            rates: rates?.destinations[index] ?? noCounters,
          })),
        };
      }),
      timeouts: timeoutsOf((state) => settings.get(0, 'timeout', state) / hertz),
      sysctls: sysctlsOf(plane.instance),
      connectionTableSize: settings.get(0, 'connections'),
    };
  }

  async function totals(): Promise<Totals> {
    const plane = await find();
    if (!plane) {
      const perCpu = Array.from({ length: possibleCpus() }, () => noCounters);
      return { counters: noCounters, rates: noCounters, perCpu, ticksPerSecond: ticksPerSecond() };
    }
    const { maps, tables } = plane;
    const slots = [...tables.listed.values()].flatMap(({ destinations }) =>
      [...destinations.values()].map(({ slot }) => slot),
    );
    return {
      ...readTotals(maps, maps.settings.get(0, 'destination_slots')),
      rates: readRates(maps, slots).service,
      ticksPerSecond: maps.settings.get(0, 'hz'),
    };
  }

  function close(): void {
    watch?.close();
    watch = undefined;
    if (!open) return;
    for (const records of [
      open.maps.services,
      open.maps.destinations,
      open.maps.hashTables,
      open.maps.destinationEstimates,
      open.maps.destinationBaselines,
      open.maps.serviceBaselines,
      open.table?.entries,
      open.table?.details,
    ]) {
      records?.close();
    }
    open.instance.close();
    open = undefined;
    attached = false;
  }

  /** Lets go of programs that nobody needed in the end. */
  async function abandon(): Promise<void> {
    const unused = coming;
    coming = undefined;
    await unused?.then(
      (loaded) => loaded.close(),
      () => undefined,
    );
  }

  async function cleanUp(): Promise<void> {
    close();
    await abandon();
    removePins(`${directory}_unfinished`);
    arranged = undefined;
    if (!existsSync(directory)) return;
    (await import('./mark-routes.ts')).removeMarks();
    detachEverywhere();
    removePins(directory);
  }
}

/** Nothing is leased: what was is the host's own where it is on an interface. */
function endLeases({ map }: Instance): void {
  map('leases').update(0, Buffer.alloc(8));
  const addresses = map('leased_addresses');
  for (const key of [...addresses.keys()]) addresses.delete(key);
}

function mapTables(instance: Instance): TableMaps {
  const { map, settings } = instance;
  return {
    services: mapRecords(map('services'), 'service'),
    destinations: mapRecords(map('destinations'), 'destination'),
    settings,
    runtime: instance.runtime,
    hashTables: mapRecords(map('hash_tables'), 'hash_table'),
    destinationEstimates: mapRecords(map('destination_estimates'), 'estimate'),
    destinationBaselines: mapRecords(map('destination_baselines'), 'counters'),
    serviceBaselines: mapRecords(map('service_baselines'), 'counters'),
    destinationCounters: map('destination_counters'),
    serviceIndex: map('service_index'),
    localAddresses: map('local_addresses'),
  };
}

/** As the kernel shows them: an automatic defence is 2 while it is on, and 1 while it is not. */
function sysctlsOf({ settings, runtime }: Instance): Sysctls {
  const shown = (name: keyof TableSysctls): number => {
    const value = settings.get(0, name);
    const automatic = name === 'drop_entry' || name === 'drop_packet' || name === 'secure_tcp';
    return automatic && (value === 1 || value === 2) ? 1 + runtime.get(0, 'low') : value;
  };
  const found = tableSysctlNames.map((name) => [name, shown(name)] as const);
  return { ...sysctlDefaults, ...Object.fromEntries(found), ftp_ports: readFtpPorts(settings) };
}

function timeoutsOf(secondsOf: (state: number) => number): Timeouts {
  const { STATE_ESTABLISHED, STATE_FIN_WAIT, STATE_UDP } = numbers.state;
  return { tcp: secondsOf(STATE_ESTABLISHED), tcpFin: secondsOf(STATE_FIN_WAIT), udp: secondsOf(STATE_UDP) };
}

/**
 * Removes the instances whose network namespace is gone, and what commands that were cut off left half made; `isIdle`
 * tells whether nobody is at work on an instance. Returns those whose namespace is gone.
 */
export function removeDeadInstances(
  bpffs: string,
  own: string,
  isIdle: (instance: string) => boolean,
): string[] {
  const gone: string[] = [];
  for (const name of readdirSync(bpffs)) {
    const instance = /^(\d+)(_unfinished|_replaced)?$/.exec(name)?.[1];
    if (instance === undefined || instance === own) continue;
    unlessGone(() => {
      const directory = join(bpffs, name);
      const state = habitation(directory);
      if (state === 'abandoned' || (state === 'unattached' && isIdle(instance))) removePins(directory);
      if (state === 'abandoned') gone.push(instance);
    });
  }
  return gone;
}

/** Turns what the kernel says into an error for users. */
async function inPlane<T>(action: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HeadgateError) throw error;
    if (error instanceof VerifierError) {
      throw new HeadgateError('HG_PLANE_REFUSED', `Cannot ${action}: ${error.message}`, { cause: error });
    }
    if (isSystemError(error, 'EPERM', 'EACCES')) {
      throw new HeadgateError('HG_NOT_ROOT', `Cannot ${action}: ${error.message}`, { cause: error });
    }
    if (isSystemError(error, 'ENOMEM')) {
      throw new HeadgateError('HG_NO_MEMORY', `Cannot ${action}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
