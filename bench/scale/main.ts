/**
 * What a full connection table and long lists of destinations cost: nanoseconds a packet of an established connection and
 * memory by connections, nanoseconds a new connection by scheduler and destinations. By BPF_PROG_TEST_RUN, as
 * bench:packets. Beside that stands a lookup in a HASH of as many entries.
 *
 * Usage: npm run bench:scale [-- --rounds N --most CONNECTIONS --bpf FOLDER]
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openTables, type Tables } from '../../src/dataplane/ebpf/tables.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { Operation } from '../../src/model/table.ts';
import {
  type ForwardingMethod,
  type SchedulerName,
  schedulerNames,
} from '../../src/model/virtual-service.ts';
import { type ObjectSpec, parseObject } from '../../src/sys/bpf/object.ts';
import { addAddress } from '../../src/sys/netlink/address.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { addRoute } from '../../src/sys/netlink/route.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { readArguments, refuse } from '../arguments.ts';
import { compileBench, machine, printTable, type Sample, sampleOf, takePrecedence } from '../machine.ts';
import {
  type Director,
  directorMac,
  firstClient,
  inBenchNamespace,
  loadDirector,
} from '../packets/director.ts';
import { buildFrame, type Frame } from '../packets/frames.ts';
import { type Flows, firstPort, plan, run, verdicts } from '../packets/measure.ts';

const options = readArguments(import.meta.filename, {
  rounds: 30,
  most: 4 << 20,
  bpf: resolve(import.meta.dirname, '../../bpf'),
});
const { rounds } = options;
const packets = 32_768;
const programs = ['bench_v4', 'bare_v4', 'yardstick_fill', 'yardstick_find', 'yardstick_bare'];
const [syn, ack] = [2, 16];
const port = 80;
const flags = { flag1: false, flag2: false, flag3: false };

/** Real servers live behind the router, so that one neighbour does for all of them. */
const realNetwork = '10.96.0.0/16';
const realOf = (n: number) => parseAddress(`10.96.${n >> 8}.${n & 255}`)!;
const virtualOf = (n: number) => parseAddress(`10.95.${n >> 8}.${n & 255}`)!;

function prepare(ifindex: number, virtuals: number): void {
  withNetlink({}, (netlink) => {
    addRoute(netlink, { destination: realNetwork, gateway: '10.98.0.254', index: ifindex });
    const loopback = linkIndex(netlink, 'lo');
    for (let n = 1; n <= virtuals; n++)
      addAddress(netlink, loopback, { prefix: `${virtualOf(n)}/32`, noDad: true });
  });
}

type Plan = {
  readonly virtual: number;
  readonly scheduler: SchedulerName;
  readonly method: ForwardingMethod;
  readonly destinations: number;
  readonly weight?: number;
};

/** Adds a service whose destinations are the real servers from `first` on. */
function addService(
  tables: Tables,
  { virtual, scheduler, method, destinations, weight = 1 }: Plan,
  first: number,
): void {
  const id = { kind: 'address', protocol: 'tcp', address: virtualOf(virtual), port } as const;
  const operations: Operation[] = [
    { kind: 'add-service', service: { id, scheduler, schedulerFlags: flags, onePacket: false } },
    ...Array.from({ length: destinations }, (_, n): Operation => {
      const place = { address: realOf(first + n), port };
      return {
        kind: 'add-destination',
        id,
        destination: { ...place, method, weight, upperThreshold: 0, lowerThreshold: 0 },
      };
    }),
  ];
  for (const operation of operations) {
    const refusal = tables.apply(operation);
    if (refusal) throw new Error(`add service ${virtual}: ${refusal.detail}`);
  }
}

const frameTo = (virtual: number, tcpFlags: number): Frame =>
  buildFrame({
    ...{ destinationMac: directorMac, protocol: 'tcp', tcpFlags, client: 'source' },
    ...{ source: firstClient.v4, sourcePort: firstPort },
    ...{ destination: virtualOf(virtual), destinationPort: port },
  });

/** Rounds with and without the call in turn; what is left after subtraction. */
function inRounds(
  work: (program: string) => number,
  count: number,
  [call, without]: readonly [string, string] = ['bench_v4', 'bare_v4'],
): Sample {
  const full: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < count; round++) {
    full.push(work(call));
    bare.push(work(without));
  }
  const [a, b] = [sampleOf(full), sampleOf(bare)];
  return { minimum: a.minimum - b.minimum, median: a.median - b.median };
}

/** Opens `count` connections with a service; nanoseconds each. */
function open(director: Director, virtual: number, count: number, ifindex: number): number {
  director.forgetConnections();
  const passes = [syn, ack].map((tcpFlags) => {
    const flows: Flows = {
      frame: frameTo(virtual, tcpFlags),
      count,
      verdict: verdicts.redirect,
      order: 'rising',
    };
    plan(director, flows);
    return run(director, 'bench_v4', flows, ifindex, count).nanoseconds;
  });
  const entries = director.runtime.get(0, 'entries');
  if (entries !== count) throw new Error(`open connections: wanted ${count} in the table, found ${entries}`);
  return passes[0]!;
}

/** A packet of any of `count` connections, in disorder. */
function established(director: Director, virtual: number, count: number, ifindex: number): Sample {
  const flows: Flows = {
    ...{ frame: frameTo(virtual, ack), count },
    ...{ verdict: verdicts.redirect, order: 'scattered' },
  };
  plan(director, flows);
  return inRounds((program) => run(director, program, flows, ifindex, packets).nanoseconds, rounds);
}

/** A lookup in a HASH of `count` entries, in disorder. */
function hashLookup(director: Director, count: number, ifindex: number): Sample {
  const flows: Flows = { ...{ frame: frameTo(1, ack), count }, ...{ verdict: 0, order: 'scattered' } };
  plan(director, { ...flows, order: 'rising' });
  run(director, 'yardstick_fill', flows, ifindex, count);
  plan(director, flows);
  const lookUp = (program: string) => run(director, program, flows, ifindex, packets).nanoseconds;
  return inRounds(lookUp, rounds, ['yardstick_find', 'yardstick_bare']);
}

/** Kernel memory of maps in bytes, as fdinfo tells it. */
const memory = (director: Director, names: readonly string[]): number =>
  names.reduce((sum, name) => {
    const info = readFileSync(`/proc/self/fdinfo/${director.loaded.maps[name]!.fd}`, 'utf8');
    return sum + Number(/^memlock:\s*(\d+)/m.exec(info)![1]);
  }, 0);

const connectionMaps = ['connections', 'connection_details', 'buckets', 'slices', 'half_open'];
const tableMaps = [
  ...['services', 'service_baselines', 'service_index', 'hash_tables', 'destinations'],
  ...['destination_counters', 'destination_estimates', 'destination_baselines'],
];
const whole = (value: number) => Math.round(value).toLocaleString('en');

type Size = { readonly connections: number; readonly services: number; readonly destinations: number };

const mi = 1 << 20;
const allSizes: readonly Size[] = [
  { connections: mi / 8, services: 2, destinations: 2 },
  { connections: mi, services: 2, destinations: 2 },
  { connections: 4 * mi, services: 2, destinations: 2 },
  { connections: mi, services: 1024, destinations: 10_000 },
  { connections: 4 * mi, services: 1024, destinations: 10_000 },
];

const sizes = allSizes.filter(({ connections }) => connections <= options.most);
if (sizes.length === 0) refuse(`--most "${options.most}": wanted ${mi / 8} or more`);

/**
 * A table as full as it gets: two services share most of the destinations, one masquerades and one routes directly; the others
 * have one each. All connections are with the one that is measured.
 */
function measureSize(
  spec: ObjectSpec,
  { connections, services, destinations }: Size,
  ifindex: number,
): string[] {
  const director = loadDirector(spec, connections, programs, { yardstick: { maxEntries: connections } });
  try {
    const tables = openTables(director.tables);
    const share = (destinations - (services - 2)) / 2;
    const common = { scheduler: 'rr', destinations: share } as const;
    addService(tables, { ...common, virtual: 1, method: 'direct-routing' }, 1);
    addService(tables, { ...common, virtual: 2, method: 'masquerade' }, 1);
    for (let virtual = 3; virtual <= services; virtual++)
      addService(tables, { ...common, virtual, method: 'masquerade', destinations: 1 }, virtual);
    tables.finish();
    director.keepHops(1000);
    open(director, 1, connections, ifindex);
    const direct = established(director, 1, connections, ifindex);
    const opening = open(director, 2, connections, ifindex);
    const nat = established(director, 2, connections, ifindex);
    const bytes = memory(director, connectionMaps);
    const hash = hashLookup(director, connections, ifindex);
    return [
      `${whole(connections)} connections, ${whole(services)} services, ${whole(destinations)} destinations`,
      ...[direct.minimum, direct.median, nat.minimum, nat.median, opening, hash.minimum].map(whole),
      (direct.minimum / hash.minimum).toFixed(2),
      (bytes / 1e6).toFixed(1),
      (bytes / connections).toFixed(0),
      (memory(director, tableMaps) / 1e6).toFixed(1),
    ];
  } finally {
    director.close();
  }
}

const lengths = [10, 100, 1000] as const;
const opened = 16_384;
/** Those that leave a destination with more active connections than its weight. */
const byWeight: ReadonlySet<SchedulerName> = new Set(['ovf', 'lblc', 'lblcr']);

/** A connection that every packet opens, by the scheduler and how many it chooses from. */
function measureSchedulers(spec: ObjectSpec, ifindex: number): string[][] {
  const director = loadDirector(spec, opened, programs);
  try {
    const tables = openTables(director.tables);
    const plans = schedulerNames.flatMap((scheduler, row) =>
      lengths.map((destinations, column): Plan => {
        const virtual = 1 + row * lengths.length + column;
        const weight = byWeight.has(scheduler) ? opened * 2 : 1;
        return { virtual, scheduler, method: 'masquerade', destinations, weight };
      }),
    );
    for (const one of plans) addService(tables, one, 1);
    tables.finish();
    director.keepHops(1000);
    const cells = plans.map(({ virtual }): string[] => {
      const flows: Flows = {
        ...{ frame: frameTo(virtual, syn), count: opened },
        ...{ verdict: verdicts.redirect, order: 'rising' },
      };
      const { minimum, median } = inRounds(
        (program) => {
          director.forgetConnections();
          plan(director, flows);
          return run(director, program, flows, ifindex, opened).nanoseconds;
        },
        Math.min(rounds, 8),
      );
      return [whole(minimum), whole(median)];
    });
    return schedulerNames.map((scheduler, row) => [
      scheduler,
      ...cells.slice(row * lengths.length, (row + 1) * lengths.length).flat(),
    ]);
  } finally {
    director.close();
  }
}

function main(): void {
  const source = join(resolve(options.bpf), 'headgate.bpf.c');
  const spec = parseObject(compileBench('packets/packets.bpf.c', [`HEADGATE="${source}"`]));
  takePrecedence();
  inBenchNamespace((ifindex) => {
    prepare(ifindex, 1024);
    process.stdout.write(`${machine()}\n${rounds} rounds\n\n`);
    printTable(
      [
        'ns a packet; memory',
        'DR: min',
        'median',
        'NAT in: min',
        'median',
        'opening',
        'HASH: min',
        'DR: x HASH',
        'connections MB',
        'bytes each',
        'services MB',
      ],
      sizes.map((size) => measureSize(spec, size, ifindex)),
    );
    process.stdout.write('\n');
    printTable(
      [
        'ns a new connection',
        ...lengths.flatMap((length) => [`${whole(length)} destinations: min`, 'median']),
      ],
      measureSchedulers(spec, ifindex),
    );
  });
}

main();
