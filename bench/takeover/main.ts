/**
 * How long a take-over takes, and what it costs clients: Headgate beside keepalived on the same lab. Both forward by the same
 * data plane and tell connections alike; what differs is who keeps the virtual addresses.
 *
 * Usage: npm run bench:takeover [-- --method TEXT --contestant TEXT --fault TEXT --interval MS --streams N --per-second N --rounds N
 *          --no-sync -o json]
 *        npm run bench:takeover -- --minutes N [...]     load and no fault: how often roles change all the same
 */
import { loadavg } from 'node:os';
import { readArguments, refuse } from '../arguments.ts';
import { machine, printTable } from '../machine.ts';
import {
  type Contestant,
  canMake,
  contestants,
  faults,
  hasKeepalived,
  type Measured,
  type Method,
  methods,
  openSite,
} from './site.ts';

const options = readArguments(import.meta.filename, {
  ...{ method: '', contestant: '', fault: '', interval: '100,10' },
  ...{ streams: 1000, 'per-second': 200, rounds: 1, minutes: 0 },
  ...{ 'no-sync': false, output: 'text' },
});
function among<Word extends string>(words: readonly Word[], text: string): readonly Word[] {
  if (text === '') return words;
  const wanted = text.split(',');
  const unknown = wanted.find((word) => !words.some((one) => one === word));
  if (unknown !== undefined) refuse(`"${unknown}" is none of them; wanted some of ${words.join(', ')}`);
  return words.filter((word) => wanted.includes(word));
}

type Row = {
  readonly contestant: Contestant;
  readonly method: Method;
  readonly intervalMs: number;
  readonly fault: string;
  readonly result: Measured | string;
};

const counts = (by: Readonly<Record<string, number>>) =>
  Object.entries(by).length === 0
    ? '0'
    : Object.entries(by)
        .map(([why, count]) => `${count} ${why}`)
        .join(', ');

function cells({ contestant, method, intervalMs, fault, result }: Row): string[] {
  const head = [contestant, method, `${intervalMs} ms`, fault, loadavg()[0]!.toFixed(0)];
  if (typeof result === 'string') return [...head, result, '', '', '', '', '', '', ''];
  const { silenceMs, afterMs, stalledMs, broken, streams, failed, opened, slowestMs, requests } = result;
  return [
    ...head,
    `${silenceMs.toFixed(0)} ms`,
    afterMs === undefined ? '' : `${afterMs.toFixed(0)} ms`,
    `${stalledMs.toFixed(0)} ms`,
    `${counts(broken)} of ${streams}`,
    `${counts(failed)} of ${opened}`,
    `${slowestMs.toFixed(0)} ms`,
    `${counts(requests.failed)} of ${requests.asked}`,
    `${requests.slowestMs.toFixed(0)} ms`,
  ];
}

const rows: Row[] = [];
const lines: string[][] = [];
function note(row: Row): void {
  rows.push(row);
  lines.push(cells(row));
  if (options.output === 'text') process.stderr.write(`${lines.at(-1)!.join('  ')}\n`);
}

const { minutes } = options;
const load = { streams: options.streams, perSecond: options['per-second'] };
for (const contestant of among(contestants, options.contestant)) {
  if (contestant === 'keepalived' && !hasKeepalived()) continue;
  for (const intervalMs of options.interval.split(',').map(Number))
    for (const method of among(methods, options.method)) {
      const name = `bt${process.pid.toString(36)}`;
      const site = await openSite({ name, method, contestant, intervalMs, sync: !options['no-sync'] });
      try {
        if (minutes > 0) {
          const { changes, ...result } = await site.endure(minutes, load);
          for (const change of changes) process.stderr.write(`${change}\n`);
          const said = `none, for ${minutes} min: ${changes.length} changed roles`;
          note({ contestant, method, intervalMs, fault: said, result });
          continue;
        }
        for (const fault of among(faults, options.fault)) {
          if (!canMake(contestant, fault)) continue;
          for (let round = 0; round < options.rounds; round++) {
            const result = await site
              .measure(fault, load)
              .catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
            note({ contestant, method, intervalMs, fault, result });
          }
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
      'load',
      'silence',
      'after the fault',
      'machine stood still',
      'streams broken',
      'new connections failed',
      'slowest of the others',
      'kept connections: requests failed',
      'slowest of the others',
    ],
    lines,
  );
}
