import { bytesText } from './status-picture.ts';
import type { TestRow } from './test-run.ts';

/** The table of `lab test`: text, a line a row. */

const widths = [14, 8, 9, 18, 22, 22] as const;
const cells = (row: readonly string[]): string =>
  row
    .map((cell, i) => cell.padEnd(widths[i] ?? 0))
    .join('  ')
    .trimEnd();

export const tableHead = (): string =>
  cells(['METHOD', 'OFFLOADS', 'SCHEDULER', 'CONNECTIONS', 'LOAD', 'TRANSFER', 'RESULT']);

export function tableRow(row: TestRow, transferBytes: number): string {
  const { method, offloads, scheduler, answers, expected, load, transfer, ok, reason } = row;
  const right = answers?.filter((name, i) =>
    expected ? name === expected[i] : !name.startsWith('('),
  ).length;
  return cells([
    ...[method, offloads ?? '', scheduler ?? ''],
    answers ? `${right} of ${answers.length} ${expected ? 'as told' : 'answered'}` : '-',
    load ? `${Math.round(load.requestsPerSecond)}/s, ${load.errors} errors` : '-',
    transfer ? `${bytesText(transferBytes)} at ${bytesText(transferBytes / transfer.seconds)}/s` : '-',
    ok ? 'ok' : `FAILED: ${reason}`,
  ]);
}

/** The last line, and what was left out because a program is missing. */
export function tableEnd(rows: readonly TestRow[], missing: readonly string[]): string[] {
  const failed = rows.filter(({ ok }) => !ok).length;
  return [
    ...missing.map((program) => `Without ${program}: install it for ${uses[program] ?? 'more'}.`),
    failed === 0 ? `${rows.length} rows, all as they should be.` : `${failed} of ${rows.length} rows FAILED.`,
  ];
}

const uses: Readonly<Record<string, string>> = { curl: 'the transfers', wrk: 'the load' };
