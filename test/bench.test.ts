import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { schedulerNames } from '../src/model/virtual-service.ts';
import { requires } from './requirements.ts';

const project = resolve(import.meta.dirname, '..');

type Ended = { readonly status: number | null; readonly stdout: string; readonly stderr: string };

function bench(name: string, ...words: readonly string[]): Promise<Ended> {
  const command = ['--import', 'tsx', join('bench', name, 'main.ts'), ...words];
  return new Promise((done) => {
    const child = execFile(process.execPath, command, { cwd: project }, (_error, stdout, stderr) =>
      done({ status: child.exitCode, stdout, stderr }),
    );
  });
}

/** A table as it is printed: the cells of each row by their headings, the first ones by "". */
type Table = readonly Readonly<Record<string, string>>[];

function tablesIn(text: string): Table[] {
  return text
    .split('\n\n')
    .filter((part) => part.startsWith('| '))
    .map((part) => {
      const [headings, , ...rows] = part
        .trim()
        .split('\n')
        .map((line) => line.split('|').slice(1, -1));
      return rows.map((cells) =>
        Object.fromEntries(cells.map((cell, i) => [i === 0 ? '' : headings![i]!.trim(), cell.trim()])),
      );
    });
}

/** The tables of a bench that must end well. */
async function tablesOf(name: string, ...words: readonly string[]): Promise<Table[]> {
  const { status, stdout, stderr } = await bench(name, ...words);
  if (status !== 0)
    throw new Error(`bench:${name}: wanted status 0, found ${status}; it said:\n${stdout}${stderr}`);
  return tablesIn(stdout);
}

const rowsOf = (table: Table | undefined) => table?.map((row) => row['']);
const column = (table: Table | undefined, heading: string) => table?.map((row) => row[heading] ?? 'none');
const ratios = (count: number) => Array.from({ length: count }, () => expect.stringMatching(/^\d+\.\d+$/));

requires(
  'root',
  'netns',
  'bpf',
  'clang-16',
)('A bench of the data plane, with its smallest arguments', () => {
  it.concurrent('packets: masquerading on every way, beside an empty program and a HASH', async ({
    expect,
  }) => {
    const [tc, xdp, yardstick, ...others] = await tablesOf('packets', '--rounds', '1', '--only', 'NAT');
    expect(others).toEqual([]);
    const ways = ['NAT in', 'NAT return', 'UDP NAT in', 'UDP NAT return', 'NAT in IPv6', 'NAT return IPv6'];
    const verified = ways.map((way) => `${way}, checksum verified`);
    const opened = ['new connection, NAT', 'new connection, UDP NAT'];
    expect(rowsOf(tc)).toEqual(['empty program', ...ways, ...opened, ...verified]);
    expect(rowsOf(xdp)).toEqual(['empty program', ...ways]);
    // The last column of that name, of many connections.
    expect(column(tc, 'x empty')).toEqual(['', ...ratios(14)]);
    expect(column(xdp, 'x empty')).toEqual(['', ...ratios(6)]);
    expect(rowsOf(yardstick)).toEqual(['1 entries', '131,072 entries', '524,288 entries']);
  });

  it.concurrent('scale: a full table beside a HASH, and every scheduler', async ({ expect }) => {
    const [sizes, schedulers, ...others] = await tablesOf('scale', '--rounds', '1', '--most', '131072');
    expect(others).toEqual([]);
    expect(rowsOf(sizes)).toEqual(['131,072 connections, 2 services, 2 destinations']);
    expect(column(sizes, 'DR: x HASH')).toEqual(ratios(1));
    expect(rowsOf(schedulers)).toEqual(schedulerNames);
  });

  it.concurrent('store: slots beside a HASH', async ({ expect }) => {
    const small = ['--connections', '262144', '--seconds', '0.1', '--only', 'two keys'];
    const [stores, ...others] = await tablesOf('store', ...small);
    expect(others).toEqual([]);
    expect(rowsOf(stores)).toEqual(['chained slots', 'HASH, two keys (NAT)']);
    expect(column(stores, 'find, x slots')).toEqual([
      '1.00 / 1.00',
      expect.stringMatching(/^\d+\.\d+ \/ \d+\.\d+$/),
    ]);
  });

  it.concurrent('checks: all loads, of which every check is good', async ({ expect }) => {
    const [loads, ...others] = await tablesOf('checks', '--seconds', '1', '--warm-up', '1', '--percent', '1');
    expect(others).toEqual([]);
    expect(rowsOf(loads)).toEqual(['100 tcp', '50 tcp', '20 http']);
    expect(column(loads, 'bad')).toEqual(['0', '0', '0']);
  });
});

/** Those that take minutes, or an emulated machine. */
const long = ['control', 'instructions', 'lab', 'load', 'proxy', 'removal', 'sync', 'takeover'];

it('every bench is run by npm, and tested here', () => {
  const { scripts } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
  const there = readdirSync(join(project, 'bench'), { withFileTypes: true }).filter((one) =>
    one.isDirectory(),
  );
  const names = there.map(({ name }) => name).toSorted();
  expect(names).toEqual([...long, 'checks', 'packets', 'scale', 'store'].toSorted());
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(names.map((name) => `bench:${name}`)));
});

it.concurrent.each(long)(
  'bench:%s says what it can be told, and refuses the rest in one line',
  async (name) => {
    const [asked, misled] = await Promise.all([bench(name, '--help'), bench(name, '--nonsense')]);
    expect(asked).toMatchObject({ status: 0, stderr: '' });
    expect(asked.stdout).toContain(`npm run bench:${name}`);
    expect(misled).toEqual({
      status: 2,
      stdout: '',
      stderr: "Unknown option '--nonsense' (--help says what there is)\n",
    });
  },
);

it('a bench takes no number that is none', async () => {
  expect(await bench('packets', '--rounds', 'many')).toEqual({
    status: 2,
    stdout: '',
    stderr: '--rounds "many": wanted a number above 0; leave it out for 40.\n',
  });
});
