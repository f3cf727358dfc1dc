/**
 * The connection store against a plain HASH, with one CPU looking up and another one entering and expiring.
 *
 * Usage: npm run bench:store [-- --only TEXT --connections N --seconds N --bpf FOLDER]
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type ObjectSpec, parseObject } from '../../src/sys/bpf/object.ts';
import { readArguments, refuse } from '../arguments.ts';
import { compileBench, machine, printTable, sampleOf, takePrecedence } from '../machine.ts';
import { type Director, loadDirector } from '../packets/director.ts';
import { destination, type Flows, forever, openWork, type Work } from './work.ts';

const options = readArguments(import.meta.filename, {
  bpf: resolve(import.meta.dirname, '../../bpf'),
  only: '',
  connections: 1 << 20,
  seconds: 2.5,
});
const source = join(resolve(options.bpf), 'headgate.bpf.c');
const object = compileBench('store/store.bpf.c', [`HEADGATE="${source}"`]);
const tableSize = options.connections;
if (Math.log2(tableSize) % 1 !== 0 || tableSize < 1 << 16)
  refuse(`--connections "${tableSize}": wanted a power of two from ${1 << 16} on`);
const noPrealloc = 1;
const residents = [tableSize / 8, tableSize / 2] as const;
const base = 0x0a40_0000;
const churnMs = options.seconds * 1000;

type Store = {
  readonly name: string;
  readonly find: string;
  readonly enter: string;
  readonly sweep: string;
  readonly maps: readonly string[];
  readonly flags: number;
  readonly sweepEveryMs: number;
};

/** Of one key, and with another for replies that goes with it. */
const one = { find: 'hash_find', enter: 'hash_enter_one', sweep: 'hash_sweep_one', maps: ['requests'] };
const two = { ...one, enter: 'hash_enter_two', sweep: 'hash_sweep_two', maps: ['requests', 'replies'] };
const sweepEveryMs = Math.min(1000, churnMs / 2.5);
const stores: Store[] = [
  {
    name: 'chained slots',
    find: 'store_find',
    enter: 'store_enter',
    sweep: 'store_sweep',
    maps: ['connections', 'connection_details', 'buckets', 'slices'],
    flags: 0,
    sweepEveryMs: Math.min(100, sweepEveryMs),
  },
  { ...one, name: 'HASH, one key', flags: 0, sweepEveryMs },
  { ...two, name: 'HASH, two keys (NAT)', flags: 0, sweepEveryMs },
  { ...one, name: 'HASH, one key, not preallocated', flags: noPrealloc, sweepEveryMs },
];
/** The slots, and what they stand beside. */
const [slots, ...hashes] = stores as [Store, ...Store[]];
const chosen = [slots, ...hashes.filter(({ name }) => name.includes(options.only))];
if (chosen.length === 1) refuse(`--only "${options.only}": no HASH has that in its name`);

const programs = [
  'store_bare',
  'store_find',
  'store_enter',
  'store_sweep',
  'hash_find',
  'hash_enter_one',
  'hash_enter_two',
  'hash_sweep_one',
  'hash_sweep_two',
];

function open(spec: ObjectSpec, flags: number): { director: Director; work: Work } {
  const size = { maxEntries: tableSize, flags };
  const director = loadDirector(spec, tableSize, programs, { requests: size, replies: size });
  return { director, work: openWork(director.loaded) };
}

const residentFlows = (count: number, order: Flows['order']): Flows => ({
  base,
  count,
  order,
  timeout: forever,
});

/** Enters `count` connections that stay; nanoseconds each. */
function fill(work: Work, store: Store, count: number): number[] {
  work.begin(residentFlows(count, 'rising'));
  const rounds = Array.from({ length: count / 8192 }, () => work.run(store.enter, 8192));
  if (work.get('missing') > 0)
    throw new Error(`fill ${store.name}: ${work.get('missing')} of ${count} refused`);
  return rounds;
}

/** Nanoseconds a lookup, the loop around it subtracted: the fastest of rounds for `forMs`. */
function find(work: Work, store: Store, count: number, forMs: number): number {
  work.begin(residentFlows(count, 'scattered'));
  const full: number[] = [];
  const bare: number[] = [];
  const end = Date.now() + forMs;
  do {
    full.push(work.run(store.find, 16_384));
    bare.push(work.run('store_bare', 16_384));
  } while (Date.now() < end);
  if (work.get('missing') > 0)
    throw new Error(
      `find in ${store.name}: ${work.get('missing')} lookups missed connections that were there`,
    );
  return sampleOf(full).minimum - sampleOf(bare).minimum;
}

type Churn = {
  enter: { minimum: number; median: number };
  entered: number;
  missing: number;
  expired: number;
  longest: number;
};

/** Starts the other process on the other CPU, over the same maps. */
async function churn(director: Director, store: Store): Promise<{ done: Promise<Churn> }> {
  const shared = Object.entries(director.loaded.maps).filter(
    ([name]) => name !== '.bss' && name !== '.rodata',
  );
  const order = {
    maps: Object.fromEntries(shared.map(([name, map]) => [name, map.info().id])),
    variables: director.constants,
    enter: store.enter,
    sweep: store.sweep,
    sweepEveryMs: store.sweepEveryMs,
    forMs: churnMs + 300,
  };
  const script = ['--import', 'tsx', join(import.meta.dirname, 'churn.ts')];
  const child: ChildProcess = spawn(
    'taskset',
    ['-c', '1', process.execPath, ...script, JSON.stringify(order)],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  child.stdin!.end(object);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.value !== 'ready') throw new Error(`the other process: wanted "ready", found "${first.value}"`);
  const exited = once(child, 'exit');
  const done = (async () => {
    const { value } = await lines.next();
    await exited;
    return JSON.parse(value as string) as Churn;
  })();
  return { done };
}

/** Counts of the destination and entries must agree after any storm. */
function checkCounts(director: Director, store: Store): void {
  if (store.find !== 'store_find') return;
  const { destinations } = director.tables;
  const counted = destinations.get(destination, 'active') + destinations.get(destination, 'inactive');
  const entries = director.runtime.get(0, 'entries');
  if (counted !== entries)
    throw new Error(`${store.name}: ${counted} connections counted, ${entries} entries`);
}

/** Kernel memory of maps in bytes, as fdinfo tells it. */
function memory(director: Director, names: readonly string[]): number {
  return names.reduce((sum, name) => {
    const info = readFileSync(`/proc/self/fdinfo/${director.loaded.maps[name]!.fd}`, 'utf8');
    return sum + Number(/^memlock:\s*(\d+)/m.exec(info)![1]);
  }, 0);
}

/** The longest time in ms that one sweep holds a CPU, over a full table of connections that all stay or are all over. */
function longestSweep(spec: ObjectSpec, store: Store, timeout: number): number {
  const { director, work } = open(spec, store.flags);
  try {
    const flows: Flows = { base, count: tableSize, order: 'rising', timeout };
    work.begin(flows);
    work.run(store.enter, tableSize);
    if (work.get('missing') > 0) throw new Error(`fill ${store.name}: ${work.get('missing')} refused`);
    work.begin(flows);
    pause(50);
    const slices = director.loaded.maps.slices!;
    // The sweeper looks at no slice before something there is due: make it look.
    for (let slice = 0; slice < slices.maxEntries; slice++) slices.update(slice, Buffer.from([1, 0, 0, 0]));
    do work.run(store.sweep, 1);
    while (work.get('unfinished'));
    const expired = work.get('expired');
    const wanted = timeout === forever ? 0 : tableSize;
    if (expired !== wanted) throw new Error(`sweep ${store.name}: ${expired} expired, wanted ${wanted}`);
    checkCounts(director, store);
    return work.longestNanoseconds() / 1e6;
  } finally {
    director.close();
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

type Row = { readonly cells: readonly string[]; readonly alone: readonly number[] };

async function measure(spec: ObjectSpec, store: Store): Promise<Row> {
  const alone: number[] = [];
  const beside: number[] = [];
  const entering: number[] = [];
  const enteringBeside: number[] = [];
  let bytes = 0;
  for (const count of residents) {
    const { director, work } = open(spec, store.flags);
    try {
      entering.push(sampleOf(fill(work, store, count)).minimum);
      bytes = memory(director, store.maps) / (store.flags & noPrealloc ? count : tableSize);
      alone.push(find(work, store, count, churnMs));
      const other = await churn(director, store);
      beside.push(find(work, store, count, churnMs));
      const result = await other.done;
      if (result.missing > 0)
        throw new Error(`${store.name}: ${result.missing} of ${result.entered} refused`);
      if (result.expired === 0) throw new Error(`${store.name}: nothing expired beside the lookups`);
      enteringBeside.push(result.enter.minimum);
      checkCounts(director, store);
    } finally {
      director.close();
    }
  }
  const sweep = [forever, 1].map((timeout) => longestSweep(spec, store, timeout).toFixed(2));
  const pair = (values: readonly number[]) => values.map(String).join(' / ');
  const cells = [
    store.name,
    pair(alone),
    pair(beside),
    pair(entering),
    pair(enteringBeside),
    bytes.toFixed(0),
    sweep.join(' / '),
  ];
  return { cells, alone };
}

async function main(): Promise<void> {
  const spec = parseObject(object);
  takePrecedence();
  spawnSync('taskset', ['-pc', '0', String(process.pid)]);
  process.stdout.write(
    `${machine()}\n${residents.map((count) => count.toLocaleString('en')).join(' / ')} connections; ns, minima\n\n`,
  );
  const rows: Row[] = [];
  for (const store of chosen) rows.push(await measure(spec, store));
  const times = (found: number, of: number) => (found / rows[0]!.alone[of]!).toFixed(2);
  printTable(
    [
      'store',
      'find',
      'find beside churn',
      'enter',
      'enter beside finds',
      'bytes each',
      `longest sweep of ${tableSize.toLocaleString('en')}, ms: alive / over`,
      'find, x slots',
    ],
    rows.map(({ cells, alone }) => [...cells, alone.map(times).join(' / ')]),
  );
}

await main();
