/**
 * Instructions a packet costs on its whole way from wire to wire: routed, through the kernel's IPVS and through the
 * ebpf data plane, on a real kernel whose clock counts instructions.
 *
 * Usage: npm run bench:instructions [-- --series 6.12|6.1 --only TEXT --rounds N --packets N --object FILE -o json]
 *        npm run bench:instructions -- --parts [--series 6.12|6.1]    what the BPF program's are made of
 */
import { join, resolve } from 'node:path';
import { type GuestResult, nanosecondsPerInstruction, runInGuest } from '../../test/kernel/guest.ts';
import { readArguments, refuse } from '../arguments.ts';
import { printTable } from '../machine.ts';
import { expectedConnections, mostPackets, plainRow, planRuns, type Row, rows, writeRuns } from './plan.ts';
import { judge, type Outcome, type Point, readOutput, summarize } from './results.ts';

const options = readArguments(import.meta.filename, {
  ...{ series: '6.12', only: '', rounds: 3, packets: 20_000 },
  ...{ object: '', parts: false, output: 'table' },
});

const project = resolve(import.meta.dirname, '../..');
/** 2^18 connections: both tables have room for all new ones, with chains of one. */
const tableBits = 18;

type Line = {
  readonly name: string;
  /** Without a director: the generator, one wire, the receiver. */
  readonly straight: Point;
  readonly routed: Point;
  readonly ipvs: Point;
  readonly headgate: Point;
};

/** An argument that must be a whole number from 1 to `most`. */
function whole(name: 'rounds' | 'packets', most: number): number {
  const value = options[name];
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  return refuse(
    `--${name} "${value}": wanted a whole number from 1 to ${most}; leave it out for the usual one.`,
  );
}

function chosenRows(): readonly Row[] {
  const chosen = rows.filter(({ name }) => name.includes(options.only));
  if (chosen.length > 0) return chosen;
  const names = rows.map(({ name }) => `"${name}"`).join(', ');
  return refuse(`--only "${options.only}": wanted a part of ${names}; found none with it.`);
}

/** The command of the guest; another object is laid over the committed one, which the host keeps. */
function commandOf(runs: string): string[] {
  const script = join(import.meta.dirname, 'guest.sh');
  const launch = ['bash', script, join(project, 'bin/ipvsadm.js'), String(tableBits), runs];
  if (options.object === '') return launch;
  const over = 'mount --bind "$1" "$2"; shift 2; exec "$@"';
  return [
    ...['bash', '-c', over, 'bash', resolve(options.object), join(project, 'bpf/headgate.bpf.o')],
    ...launch,
  ];
}

/** Runs a command in a guest that counts instructions; it must end well. */
async function runCounting(command: readonly string[]): Promise<GuestResult> {
  const guest = await runInGuest(command, {
    series: options.series,
    cwd: project,
    countInstructions: true,
    timeoutMs: 1_800_000,
  });
  if (guest.status === 0) return guest;
  throw new Error(
    `Measuring in a guest of Linux "${guest.kernelRelease}": wanted status 0, found ${guest.status}; it said:\n${guest.output}\n${guest.console}`,
  );
}

/** The steps of the program by the kernel's test run, which leaves out hook, redirect and transmission. */
async function printParts(): Promise<void> {
  const bench = ['bench/packets/main.ts', '--parts', '--rounds', '1'];
  const unit = ['--instruction', String(nanosecondsPerInstruction)];
  const { output } = await runCounting([process.execPath, '--import', 'tsx', ...bench, ...unit]);
  process.stdout.write(output);
}

async function measure(chosen: readonly Row[]): Promise<{ release: string; lines: Line[] }> {
  const runs = planRuns(chosen, whole('packets', mostPackets), whole('rounds', 7));
  const guest = await runCounting(commandOf(writeRuns(runs)));
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
      straight: pointOf('straight', plainRow(row)),
      routed: pointOf('routed', plainRow(row)),
      ipvs: pointOf('IPVS', row),
      headgate: pointOf('headgate', row),
    })),
  };
}

const figure = (value: number): string => Math.round(value).toLocaleString('en');

/** The cells of the whole way, and of the director's part in it; "rejected" where a point was. */
function cellsOf({ name, straight, routed, ipvs, headgate }: Line): { whole: string[]; director: string[] } {
  if ('rejected' in straight || 'rejected' in routed || 'rejected' in ipvs || 'rejected' in headgate)
    return { whole: [name, 'rejected'], director: [name, 'rejected'] };
  const points = [routed, ipvs, headgate];
  const spread = Math.max(...[straight, ...points].map((point) => point.spread));
  const shares = points.map(({ median }) => median - straight.median) as [number, number, number];
  const [routing, ipvsShare, headgateShare] = shares;
  return {
    whole: [
      ...[name, ...[straight, ...points].map(({ median }) => figure(median))],
      ...[(headgate.median / ipvs.median).toFixed(2), `${(spread * 100).toFixed(2)} %`],
    ],
    director: [
      ...[name, ...shares.map(figure), (headgateShare / ipvsShare).toFixed(2)],
      ...[figure(ipvsShare - routing), figure(headgateShare - routing)],
    ],
  };
}

function print(release: string, lines: readonly Line[]): void {
  const cells = lines.map(cellsOf);
  process.stdout.write(
    `Linux ${release}, one emulated processor; median of ${options.rounds} x ${options.packets} packets of 60 bytes, UDP\n\n`,
  );
  printTable(
    ['whole way', 'no director', 'routed', 'IPVS', 'headgate', 'headgate / IPVS', 'spread'],
    cells.map(({ whole }) => whole),
  );
  process.stdout.write('\n');
  printTable(
    ['director', 'routed', 'IPVS', 'headgate', 'headgate / IPVS', 'IPVS - routed', 'headgate - routed'],
    cells.map(({ director }) => director),
  );
}

async function main(): Promise<void> {
  if (options.parts) {
    await printParts();
    return;
  }
  const { release, lines } = await measure(chosenRows());
  if (options.output === 'json')
    process.stdout.write(`${JSON.stringify({ kernel: release, rows: lines }, undefined, 2)}\n`);
  else print(release, lines);
  for (const { name, ...points } of lines) {
    for (const [director, point] of Object.entries(points)) {
      if (!('rejected' in point)) continue;
      process.stderr.write(`${name}, ${director}: rejected: ${point.rejected}\n`);
      process.exitCode = 1;
    }
  }
}

await main();
