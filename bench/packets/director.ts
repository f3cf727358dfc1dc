import { fillSettings, type Sizes, sizedMaps } from '../../src/dataplane/ebpf/create.ts';
import { mapRecords, type Records } from '../../src/dataplane/ebpf/records.ts';
import type { TableMaps } from '../../src/dataplane/ebpf/table-maps.ts';
import { openTables } from '../../src/dataplane/ebpf/tables.ts';
import { parseAddress } from '../../src/model/address.ts';
import { sysctlDefaults } from '../../src/model/sysctls.ts';
import type { ForwardingMethod, Protocol } from '../../src/model/virtual-service.ts';
import { type LoadedObject, loadObject, type MapOverride } from '../../src/sys/bpf/load.ts';
import type { ObjectSpec } from '../../src/sys/bpf/object.ts';
import { ticksPerSecond } from '../../src/sys/clock.ts';
import type { Mapping } from '../../src/sys/ffi.ts';
import { addAddress } from '../../src/sys/netlink/address.ts';
import { createVeth, linkIndex, setLink } from '../../src/sys/netlink/link.ts';
import { setNeighbour } from '../../src/sys/netlink/neighbour.ts';
import { addRoute } from '../../src/sys/netlink/route.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath, withNetns } from '../../src/sys/netns.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { macBytes } from './frames.ts';

export const directorMac = '02:00:00:00:00:01';
export const serverMac = '02:00:00:00:00:02';
const routerMac = '02:00:00:00:00:fe';

/** One virtual service with one real server. */
export type BenchService = {
  readonly protocol: Protocol;
  readonly virtual: string;
  readonly port: number;
  readonly method: ForwardingMethod;
  readonly real: string;
  readonly realPort: number;
};

export const services = {
  direct: {
    protocol: 'tcp',
    virtual: '10.99.0.1',
    port: 80,
    method: 'direct-routing',
    real: '10.98.0.2',
    realPort: 80,
  },
  nat: {
    protocol: 'tcp',
    virtual: '10.99.0.2',
    port: 80,
    method: 'masquerade',
    real: '10.98.0.3',
    realPort: 8080,
  },
  udp: {
    protocol: 'udp',
    virtual: '10.99.0.3',
    port: 53,
    method: 'masquerade',
    real: '10.98.0.4',
    realPort: 5353,
  },
  direct6: {
    protocol: 'tcp',
    virtual: 'fd99::1',
    port: 80,
    method: 'direct-routing',
    real: 'fd98::2',
    realPort: 80,
  },
  nat6: {
    protocol: 'tcp',
    virtual: 'fd99::2',
    port: 80,
    method: 'masquerade',
    real: 'fd98::3',
    realPort: 8080,
  },
  tunnel: {
    protocol: 'tcp',
    virtual: '10.99.0.4',
    port: 80,
    method: 'tunnel',
    real: '10.98.0.5',
    realPort: 80,
  },
  tunnel6: {
    protocol: 'tcp',
    virtual: 'fd99::3',
    port: 80,
    method: 'tunnel',
    real: 'fd98::5',
    realPort: 80,
  },
} as const satisfies Record<string, BenchService>;

/** Client addresses: 65,536 from here on, a router away. */
export const firstClient = { v4: '10.64.0.0', v6: 'fd64::' } as const;

/** Runs work in a namespace of its own: a director with one interface, virtual addresses, real servers and a router beside it. */
export function inBenchNamespace<T>(work: (ifindex: number) => T): T {
  const name = `hg-bench-${process.pid}`;
  createNamedNetns(name);
  try {
    return withNetns(netnsPath(name), () => work(prepareNamespace()));
  } finally {
    deleteNamedNetns(name);
  }
}

function prepareNamespace(): number {
  return withNetlink({}, (netlink) => {
    createVeth(netlink, { name: 'bench0', mac: directorMac, peer: { name: 'bench1' } });
    const index = linkIndex(netlink, 'bench0');
    for (const name of ['lo', 'bench0', 'bench1']) setLink(netlink, linkIndex(netlink, name), { up: true });
    for (const prefix of ['10.98.0.1/24', 'fd98::1/64']) addAddress(netlink, index, { prefix, noDad: true });
    for (const { virtual } of Object.values(services)) {
      const prefix = `${virtual}/${virtual.includes(':') ? 128 : 32}`;
      addAddress(netlink, linkIndex(netlink, 'lo'), { prefix, noDad: true });
    }
    for (const { real } of Object.values(services))
      setNeighbour(netlink, index, { address: real, mac: serverMac, state: 'permanent' });
    for (const address of ['10.98.0.254', 'fd98::fe'])
      setNeighbour(netlink, index, { address, mac: routerMac, state: 'permanent' });
    addRoute(netlink, { destination: '10.64.0.0/10', gateway: '10.98.0.254', index });
    addRoute(netlink, { destination: 'fd64::/16', gateway: 'fd98::fe', index });
    for (const name of ['net.ipv4.conf.lo.forwarding', 'net.ipv6.conf.lo.forwarding']) writeSysctl(name, 1);
    return index;
  });
}

/** A loaded data plane with the services, and means to empty its connection table. */
export type Director = {
  readonly loaded: LoadedObject;
  /** What the programs were loaded with. */
  readonly constants: Readonly<Record<string, number>>;
  readonly runtime: Records<'runtime'>;
  /** For services beside those that are there: `openTables`. */
  readonly tables: TableMaps;
  forgetConnections(): void;
  /** Makes known next hops last for `seconds` instead of one: XDP alone never refreshes them. */
  keepHops(seconds: number): void;
  close(): void;
};

/** Loads programs over fresh maps for `connections` connections, filled as the ebpf plane fills its own; no sweeper runs. */
export function loadDirector(
  spec: ObjectSpec,
  connections: number,
  programs: readonly string[],
  more: Readonly<Record<string, MapOverride>> = {},
): Director {
  const sizes: Sizes = { connections, mhTableIndex: sysctlDefaults.mh_tab_index };
  const { maps, variables } = sizedMaps(sizes);
  const loaded = loadObject(spec, { maps: { ...maps, ...more }, variables, programs });
  fillSettings(loaded, sizes);
  const map = (name: string) => loaded.maps[name]!;
  const settings = mapRecords(map('.data.settings'), 'settings');
  const runtime = mapRecords(map('.data.runtime'), 'runtime');
  const tables: TableMaps = {
    services: mapRecords(map('services'), 'service'),
    destinations: mapRecords(map('destinations'), 'destination'),
    settings,
    runtime,
    hashTables: mapRecords(map('hash_tables'), 'hash_table'),
    destinationEstimates: mapRecords(map('destination_estimates'), 'estimate'),
    destinationBaselines: mapRecords(map('destination_baselines'), 'counters'),
    serviceBaselines: mapRecords(map('service_baselines'), 'counters'),
    destinationCounters: map('destination_counters'),
    serviceIndex: map('service_index'),
    localAddresses: map('local_addresses'),
  };
  // The same chains in every sitting.
  settings.set(0, 'salt', 0x2545f491);
  // Tables are filled by SYNs alone.
  settings.set(0, 'half_open_share', 0);
  addServices(tables);
  const heads: Mapping = map('buckets').mmap('read-write');
  return {
    loaded,
    constants: variables,
    runtime,
    tables,
    forgetConnections() {
      new Uint8Array(heads.buffer).fill(0);
      for (const field of ['fresh', 'entries'] as const) runtime.set(0, field, 0);
      runtime.setBig(0, 'free', 0n);
    },
    keepHops: (seconds) => settings.set(0, 'hz', ticksPerSecond() * seconds),
    close() {
      heads.close();
      for (const records of Object.values(tables)) records.close();
      runtime.close();
      loaded.close();
    },
  };
}

/** Lets XDP use the interface and the loopback device, from which packets of a test run seem to come. */
export function listPorts(director: Director, ifindex: number): void {
  const ports = director.loaded.maps.ports;
  for (const index of [1, ifindex]) {
    const port = Buffer.alloc(12);
    port.writeUInt32LE(index);
    port.set(macBytes(directorMac), 4);
    ports?.update(index, port);
  }
}

function addServices(maps: TableMaps): void {
  const tables = openTables(maps);
  for (const { protocol, virtual, port, method, real, realPort } of Object.values<BenchService>(services)) {
    const id = { kind: 'address', protocol, address: parseAddress(virtual)!, port } as const;
    const flags = { flag1: false, flag2: false, flag3: false };
    const refusals = [
      tables.apply({
        kind: 'add-service',
        service: { id, scheduler: 'rr', schedulerFlags: flags, onePacket: false },
      }),
      tables.apply({
        kind: 'add-destination',
        id,
        destination: {
          address: parseAddress(real)!,
          port: realPort,
          method,
          ...(method === 'tunnel' && { tunnel: { type: 'ipip', port: 0, checksum: 'none' } }),
          weight: 1,
          upperThreshold: 0,
          lowerThreshold: 0,
        },
      }),
    ];
    for (const refusal of refusals) if (refusal) throw new Error(`add ${virtual}: ${refusal.detail}`);
  }
  tables.finish();
}
