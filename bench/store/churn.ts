/** The other CPU of the store bench: enters short-lived connections and sweeps them away for a time. Its input is the object. */
import { readFileSync } from 'node:fs';
import { openById } from '../../src/sys/bpf/info.ts';
import { loadObject } from '../../src/sys/bpf/load.ts';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { sampleOf } from '../machine.ts';
import { openWork } from './work.ts';

type Order = {
  readonly maps: Readonly<Record<string, number>>;
  readonly variables: Readonly<Record<string, number>>;
  readonly enter: string;
  readonly sweep: string;
  readonly sweepEveryMs: number;
  readonly forMs: number;
};

const order = JSON.parse(process.argv[2]!) as Order;
const batch = 2048;
const loaded = loadObject(parseObject(readFileSync(0)), {
  maps: Object.fromEntries(
    Object.entries(order.maps).map(([name, id]) => [name, { fd: openById('map', id) }]),
  ),
  variables: order.variables,
  programs: [order.enter, order.sweep, 'store_bare'],
});
const work = openWork(loaded);
work.begin({ base: 0x0a80_0000, count: 1 << 20, order: 'rising', timeout: 1 });
process.stdout.write('ready\n');

const cell = new Int32Array(new SharedArrayBuffer(4));
const end = Date.now() + order.forMs;
const entered: number[] = [];
let nextSweep = 0;
let sweeps = 0;
// What the first sweep finds is too young to expire.
while (Date.now() < end || sweeps < 2) {
  entered.push(work.run(order.enter, batch));
  const now = Date.now();
  if (now >= nextSweep) {
    work.run(order.sweep, 1);
    sweeps++;
    nextSweep = work.get('unfinished') ? now : now + order.sweepEveryMs;
  }
  Atomics.wait(cell, 0, 0, 5);
}
process.stdout.write(
  `${JSON.stringify({
    enter: sampleOf(entered),
    entered: entered.length * batch,
    missing: work.get('missing'),
    expired: work.get('expired'),
    longest: work.longestNanoseconds(),
  })}\n`,
);
