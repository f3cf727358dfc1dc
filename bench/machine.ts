import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, setPriority, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { compileBpf } from '../scripts/build-bpf.ts';

/** One line that says where figures come from. */
export function machine(): string {
  const all = cpus();
  const compiler = spawnSync('clang-16', ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0] ?? '';
  return `${all.length} x ${all[0]?.model.trim() ?? 'unknown CPU'}, Linux ${release()}, Node ${process.version}, ${compiler}, load ${loadavg()[0]!.toFixed(1)}`;
}

/**
 * Puts this process, and those it starts, before others until it ends: what disturbs a round makes it longer, never
 * shorter. Where the scheduler groups by session, a priority counts only within the session, whose own is set too.
 */
export function takePrecedence(): void {
  const session = '/proc/self/autogroup';
  try {
    setPriority(-20);
    const before = /nice (-?\d+)/.exec(readFileSync(session, 'utf8'))?.[1];
    if (before === undefined) return;
    writeFileSync(session, '-20');
    process.once('exit', () => writeFileSync(session, before));
  } catch {
    // Without the right to it, or without such groups, the rounds are only noisier.
  }
}

/** The object of a program that exists for measuring only. `defines` are NAME=value. */
export function compileBench(source: string, defines: readonly string[] = []): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-bench-'));
  try {
    const output = join(folder, 'bench.o');
    compileBpf(resolve(import.meta.dirname, source), output, defines);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export type Sample = { readonly minimum: number; readonly median: number };

export function sampleOf(values: readonly number[]): Sample {
  const sorted = [...values].sort((a, b) => a - b);
  return { minimum: sorted[0]!, median: sorted[sorted.length >> 1]! };
}

/** Prints rows under headings, first column to the left, the others to the right; `|` between, so that it is Markdown. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (column === 0 ? (cells[column] ?? '').padEnd(width) : (cells[column] ?? '').padStart(width))).join(' | ')} |\n`;
  process.stdout.write(line(headings));
  process.stdout.write(
    `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|\n`,
  );
  for (const row of rows) process.stdout.write(line(row));
}
