/**
 * Instructions a packet costs on its whole way from wire to wire: routed, through the kernel's IPVS and through the
 * ebpf data plane, on a real kernel whose clock counts instructions.
 *
 * Usage: npm run bench:instructions [-- --series 6.12|6.1 --only TEXT --rounds N --packets N --object FILE -o json]
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { runInGuest } from '../../test/kernel/guest.ts';
import { printTable } from '../machine.ts';
import { expectedConnections, mostPackets, planRuns, type Row, routedRow, rows, writeRuns } from './plan.ts';
import { judge, type Outcome, type Point, readOutput, summarize } from './results.ts';

const { values: options } = parseArgs({
  options: {
    series: { type: 'string', default: '6.12' },
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '3' },
    packets: { type: 'string', default: '20000' },
    object: { type: 'string' },
    output: { type: 'string', short: 'o', default: 'table' },
  },
});

const project = resolve(import.meta.dirname, '../..');
/** 2^18 connections: both tables have room for all new ones, with chains of one. */
const tableBits = 18;

type Line = {
  readonly name: string;
  readonly routed: Point;
  readonly ipvs: Point;
  readonly headgate: Point;
};

/** An argument that must be a whole number from 1 to `most`. */
function whole(name: 'rounds' | 'packets', most: number): number {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new Error(
    `Reading --${name} "${options[name]}": wanted a whole number from 1 to ${most}; leave it out for the usual one.`,
  );
}

function chosenRows(): readonly Row[] {
  const chosen = rows.filter(({ name }) => name.includes(options.only));
  if (chosen.length > 0) return chosen;
  const names = rows.map(({ name }) => `"${name}"`).join(', ');
  throw new Error(`Reading --only "${options.only}": wanted a part of ${names}; found none with it.`);
}

/** The command of the guest; another object is laid over the committed one, which the host keeps. */
function commandOf(runs: string): string[] {
  const script = join(import.meta.dirname, 'guest.sh');
  const launch = ['bash', script, join(project, 'bin/ipvsadm.js'), String(tableBits), runs];
  if (options.object === undefined) return launch;
  const over = 'mount --bind "$1" "$2"; shift 2; exec "$@"';
  return [
    ...['bash', '-c', over, 'bash', resolve(options.object), join(project, 'bpf/headgate.bpf.o')],
    ...launch,
  ];
}

async function measure(chosen: readonly Row[]): Promise<{ release: string; lines: Line[] }> {
  const runs = planRuns(chosen, whole('packets', mostPackets), whole('rounds', 7));
  const guest = await runInGuest(commandOf(writeRuns(runs)), {
    series: options.series,
    cwd: project,
    countInstructions: true,
    timeoutMs: 1_800_000,
  });
  if (guest.status !== 0)
    throw new Error(
      `Measuring in a guest of Linux "${guest.kernelRelease}": wanted status 0, found ${guest.status}; it said:\n${guest.output}\n${guest.console}`,
    );
  const { lines, connections } = readOutput(guest.output.toString());
  for (const [number, director] of [
    [2, 'IPVS'],
    [3, 'headgate'],
  ] as const) {
    for (const service of ['1.101', '1.102', '1.103']) {
      const wanted = expectedConnections(runs, director, service);
      const found = connections.get(director.toLowerCase())?.get(`10.${number}.${service}`);
      if (found !== wanted)
        throw new Error(
          `Measuring ${director}: wanted ${wanted} connections at "10.${number}.${service}", found ${found}; what it forwarded was not all balanced.`,
        );
    }
  }
  const pointOf = (director: string, row: Row): Point => {
    const outcomes: Outcome[] = runs
      .filter((run) => run.director === director && run.row.name === row.name && run.round > 0)
      .map(({ round, packets }) => judge(lines.get(`${director}: ${row.name}: ${round}`) ?? '', packets));
    return summarize(outcomes);
  };
  return {
    release: guest.kernelRelease,
    lines: chosen.map((row) => ({
      name: row.name,
      routed: pointOf('routed', routedRow(row)),
      ipvs: pointOf('IPVS', row),
      headgate: pointOf('headgate', row),
    })),
  };
}

const figure = (point: Point): string =>
  'rejected' in point ? 'rejected' : Math.round(point.median).toLocaleString('en');

/** The cells of a row; empty where a point was rejected. */
function cellsOf({ name, routed, ipvs, headgate }: Line): string[] {
  const cells = [name, figure(routed), figure(ipvs), figure(headgate)];
  if ('rejected' in routed || 'rejected' in ipvs || 'rejected' in headgate) return cells;
  const more = [ipvs, headgate].map(({ median }) => Math.round(median - routed.median).toLocaleString('en'));
  const spread = Math.max(routed.spread, ipvs.spread, headgate.spread);
  return [...cells, (headgate.median / ipvs.median).toFixed(2), ...more, `${(spread * 100).toFixed(2)} %`];
}

const { release, lines } = await measure(chosenRows());
const rejected = lines.flatMap(({ name, ...points }) =>
  Object.entries(points).flatMap(([director, point]) =>
    'rejected' in point ? [`${name}, ${director}: rejected: ${point.rejected}`] : [],
  ),
);
if (options.output === 'json')
  process.stdout.write(`${JSON.stringify({ kernel: release, rows: lines }, undefined, 2)}\n`);
else {
  process.stdout.write(
    `Linux ${release}, one emulated processor; median of ${options.rounds} x ${options.packets} packets of 60 bytes, UDP\n\n`,
  );
  printTable(
    [
      ...['instructions a packet', 'routed', 'IPVS', 'headgate', 'headgate / IPVS'],
      ...['IPVS - routed', 'headgate - routed', 'spread'],
    ],
    lines.map(cellsOf),
  );
}
for (const complaint of rejected) process.stderr.write(`${complaint}\n`);
process.exitCode = rejected.length > 0 ? 1 : 0;
