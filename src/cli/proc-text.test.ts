import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { memoryController } from '../../test/golden/memory-controller.ts';
import { answer, observation } from '../../test/golden/replay.ts';
import type { Counters } from '../model/table.ts';
import { sumOfCounters, type Totals } from '../model/totals.ts';
import { ipVsConnSyncText, ipVsConnText, ipVsStatsPerCpuText, ipVsStatsText, ipVsText } from './proc-text.ts';

/* What the kernel's own IPVS said in a guest (test/kernel/proc-golden.sh), of a table of every kind with connections. */

const recorded = readFileSync(new URL('../../test/golden/proc/linux-6.12.txt', import.meta.url), 'utf8');
const texts = Object.fromEntries(
  recorded
    .split(/^== /m)
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]),
);
const text = (name: string): string => texts[name] ?? '';
/** CONFIG_HZ of Debian's kernels. */
const hertz = 250;

const linesOf = (name: string): string[] => text(name).split('\n');
const connectionsIn = (lines: readonly string[]) => observation({ connections: lines }).connections;
/** Services in an order of their own, each with its destinations. */
const blocks = (table: string): string[] => {
  const [head = '', ...rest] = table.split(/^(?=[A-Z])/m);
  return [head, ...rest.sort()];
};

test('services and destinations', async () => {
  const controller = memoryController();
  const rules = text('rules');
  expect(await answer('ipvsadm-restore', rules, controller)).toEqual({ status: 0, stdout: '', stderr: '' });
  const persistent = linesOf('listing').map((line) => line.replace(/(Masq|Route|Tunnel) +(\d+)/, '$2 0'));
  controller.observe(observation({ persistent }).counts, []);
  const shown = blocks(ipVsText(await controller.read(), hertz));
  expect(shown).toHaveLength(2 + 16);
  expect(shown).toEqual(blocks(text('ip_vs')));
});

test('connections', () => {
  const lines = linesOf('ip_vs_conn');
  expect(lines).toHaveLength(9);
  expect(ipVsConnText(connectionsIn(lines))).toBe(text('ip_vs_conn'));
});

test('what a persistence engine keeps', () => {
  const row =
    'UDP 0A010003 0000 0A010066 13C4 0A020004 13C4 UDP             172 sip 84b4c76e66710@10.1.0.3\n';
  const head = linesOf('ip_vs_conn')[0]!;
  expect(ipVsConnText(connectionsIn([head, row]))).toBe(`${head}\n${row}`);
});

test.each(['ip_vs_conn_sync', 'backup-ip_vs_conn_sync'])('connections that were told of: %s', (name) => {
  const lines = linesOf(name);
  const plain = lines.map((line) => line.replace(/ (LOCAL|SYNC) /, ' '));
  const connections = connectionsIn(plain).map((one, i) =>
    lines[i + 1]!.includes(' SYNC ') ? { ...one, synced: true as const } : one,
  );
  expect(connections).toHaveLength(7);
  expect(ipVsConnSyncText(connections)).toBe(text(name));
});

/** The numbers of a line, as ipvsadm prints them in decimal. */
const countersOf = (cells: readonly bigint[]): Counters => {
  const [connections = 0n, packetsIn = 0n, packetsOut = 0n, bytesIn = 0n, bytesOut = 0n] = cells;
  return { connections, packetsIn, packetsOut, bytesIn, bytesOut };
};
const fromHex = (line: string): Counters =>
  countersOf((line.match(/[0-9A-F]+/g) ?? []).slice(-5).map((cell) => BigInt(`0x${cell}`)));

test('what was counted in all', () => {
  const counters = linesOf('stats')
    .filter((line) => /^[A-Z]{3,4} .* \d+$/.test(line))
    .map((line) => countersOf(line.trim().split(/ +/).slice(-5).map(BigInt)))
    .reduce(sumOfCounters);
  const rates = fromHex(linesOf('ip_vs_stats')[5]!);
  const totals: Totals = { counters, rates, perCpu: [], ticksPerSecond: hertz };
  expect(ipVsStatsText(totals)).toBe(text('ip_vs_stats'));
});

test.each(['ip_vs_stats_percpu', 'zeroed-ip_vs_stats_percpu'])(
  'what was counted on each processor: %s',
  (name) => {
    const lines = linesOf(name);
    const [first, second, all] = [lines[2]!, lines[3]!, lines[4]!].map(fromHex);
    const totals: Totals = {
      counters: all!,
      rates: fromHex(lines[7]!),
      perCpu: [first!, second!],
      ticksPerSecond: hertz,
    };
    expect(sumOfCounters(first!, second!)).toEqual(fromHex(linesOf('ip_vs_stats_percpu')[4]!));
    expect(ipVsStatsPerCpuText(totals)).toBe(text(name));
  },
);
