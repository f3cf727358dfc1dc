/**
 * The connection store against a plain HASH, with one CPU looking up and another one entering and expiring.
 *
 * Usage: npm run bench:store [-- --bpf FOLDER]
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import type { ObjectSpec } from '../../src/sys/bpf/object.ts';
import { compileBench, machine, printTable, sampleOf, takePrecedence } from '../machine.ts';
import { type Director, loadDirector } from '../packets/director.ts';
import { type Flows, forever, openWork, type Work } from './work.ts';

const { values: options } = parseArgs({
  options: { bpf: { type: 'string', default: resolve(import.meta.dirname, '../../bpf') } },
});
const source = join(resolve(options.bpf), 'headgate.bpf.c');
const tableSize = 1 << 20;
const noPrealloc = 1;
const residents = [131_072, 524_288] as const;
const base = 0x0a40_0000;
const churnMs = 2500;

type Store = {
  readonly name: string;
  readonly find: string;
  readonly enter: string;
  readonly sweep: string;
  readonly maps: readonly string[];
  readonly flags: number;
  readonly sweepEveryMs: number;
};

const hash = { find: 'hash_find', sweep: 'hash_sweep', flags: 0, sweepEveryMs: 1000 };
const stores: Store[] = [
  {
    name: 'chained slots',
    find: 'store_find',
    enter: 'store_enter',
    sweep: 'store_sweep',
    maps: ['connections', 'connection_details', 'buckets', 'slices'],
    flags: 0,
    sweepEveryMs: 100,
  },
  { ...hash, name: 'HASH, one key', enter: 'hash_enter_one', maps: ['forward'] },
  { ...hash, name: 'HASH, two keys (NAT)', enter: 'hash_enter_two', maps: ['forward', 'backward'] },
  {
    ...hash,
    name: 'HASH, one key, not preallocated',
    enter: 'hash_enter_one',
    maps: ['forward'],
    flags: noPrealloc,
  },
];

const programs = [
  'store_bare',
  'store_find',
  'store_enter',
  'store_sweep',
  'hash_find',
  'hash_enter_one',
  'hash_enter_two',
  'hash_sweep',
];

function open(spec: ObjectSpec, flags: number): { director: Director; work: Work } {
  const size = { maxEntries: tableSize, flags };
  const director = loadDirector(spec, tableSize, programs, { forward: size, backward: size });
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
  for (const end = Date.now() + forMs; Date.now() < end; ) {
    full.push(work.run(store.find, 16_384));
    bare.push(work.run('store_bare', 16_384));
  }
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
    source,
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
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
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
  const record = director.loaded.maps.destinations!.lookup(2)!;
  const counted = record.readUInt32LE(64) + record.readUInt32LE(68);
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

/** The longest time in ms that one sweep holds a CPU, over a million connections that all stay or are all over. */
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

async function measure(spec: ObjectSpec, store: Store): Promise<string[]> {
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
  return [
    store.name,
    pair(alone),
    pair(beside),
    pair(entering),
    pair(enteringBeside),
    bytes.toFixed(0),
    sweep.join(' / '),
  ];
}

async function main(): Promise<void> {
  const spec = compileBench('store/store.bpf.c', [`HEADGATE="${source}"`]);
  takePrecedence();
  spawnSync('taskset', ['-pc', '0', String(process.pid)]);
  process.stdout.write(
    `${machine()}\n${residents.map((count) => count.toLocaleString('en')).join(' / ')} connections; ns, minima\n\n`,
  );
  const rows: string[][] = [];
  for (const store of stores) rows.push(await measure(spec, store));
  printTable(
    [
      'store',
      'find',
      'find beside churn',
      'enter',
      'enter beside finds',
      'bytes each',
      'longest sweep of 1 Mi, ms: alive / over',
    ],
    rows,
  );
}

await main();
