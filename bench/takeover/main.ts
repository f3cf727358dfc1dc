/**
 * How long a take-over takes, and what it costs clients: Headgate beside keepalived on the same lab. Both forward by the same
 * data plane and tell connections alike; what differs is who keeps the virtual addresses.
 *
 * Usage: npm run bench:takeover [-- --method TEXT --contestant TEXT --fault TEXT --interval MS --streams N --no-sync -o json]
 */
import { parseArgs } from 'node:util';
import { machine, printTable } from '../machine.ts';
import type { LoadResult } from './silence.ts';
import {
  type Contestant,
  contestants,
  type Fault,
  faults,
  hasKeepalived,
  type Method,
  methods,
  openSite,
} from './site.ts';

const { values: options } = parseArgs({
  options: {
    method: { type: 'string', default: '' },
    contestant: { type: 'string', default: '' },
    fault: { type: 'string', default: '' },
    interval: { type: 'string', default: '100,10' },
    streams: { type: 'string', default: '1000' },
    'no-sync': { type: 'boolean', default: false },
    output: { type: 'string', short: 'o', default: 'text' },
  },
});
const among = <Word extends string>(words: readonly Word[], text: string) =>
  words.filter((word) => text === '' || text.split(',').includes(word));

type Row = {
  readonly contestant: Contestant;
  readonly method: Method;
  readonly intervalMs: number;
  readonly fault: Fault;
  readonly result: LoadResult | string;
};

const counts = (by: Readonly<Record<string, number>>) =>
  Object.entries(by).length === 0
    ? '0'
    : Object.entries(by)
        .map(([why, count]) => `${count} ${why}`)
        .join(', ');

function cells({ contestant, method, intervalMs, fault, result }: Row): string[] {
  const head = [contestant, method, `${intervalMs} ms`, fault];
  if (typeof result === 'string') return [...head, result, '', '', ''];
  const { silenceMs, broken, streams, failed, opened, slowestMs } = result;
  return [
    ...head,
    `${silenceMs.toFixed(0)} ms`,
    `${counts(broken)} of ${streams}`,
    `${counts(failed)} of ${opened}`,
    `${slowestMs.toFixed(0)} ms`,
  ];
}

const rows: Row[] = [];
const load = { streams: Number(options.streams), perSecond: 200 };
for (const contestant of among(contestants, options.contestant)) {
  if (contestant === 'keepalived' && !hasKeepalived()) continue;
  for (const intervalMs of options.interval.split(',').map(Number))
    for (const method of among(methods, options.method)) {
      const name = `bt${process.pid.toString(36)}`;
      const site = await openSite({ name, method, contestant, intervalMs, sync: !options['no-sync'] });
      try {
        for (const fault of among(faults, options.fault)) {
          const result = await site
            .measure(fault, load)
            .catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
          const row: Row = { contestant, method, intervalMs, fault, result };
          rows.push(row);
          if (options.output === 'text') process.stderr.write(`${cells(row).join('  ')}\n`);
        }
      } finally {
        await site.close();
      }
    }
}
if (options.output === 'json')
  process.stdout.write(`${JSON.stringify({ machine: machine(), rows }, null, 2)}\n`);
else {
  process.stdout.write(`${machine()}\n\n`);
  printTable(
    [
      'kept by',
      'method',
      'interval',
      'fault',
      'silence',
      'streams broken',
      'new connections failed',
      'slowest of the others',
    ],
    rows.map(cells),
  );
}
