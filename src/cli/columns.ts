/** Lines of columns two spaces apart; those of numbers at the right of their width. */
export function aligned(
  rows: readonly (readonly string[])[],
  numeric: ReadonlySet<number> = new Set(),
): string[] {
  const widths = (rows[0] ?? []).map((_, i) => rows.reduce((most, row) => Math.max(most, row[i]!.length), 0));
  const cell = (text: string, i: number) =>
    numeric.has(i) ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
  return rows.map((row) => row.map(cell).join('  ').trimEnd());
}

/** A table with its heads; the columns that are named hold numbers. */
export function table<Head extends string>(
  heads: readonly Head[],
  rows: readonly (readonly string[])[],
  ...numeric: readonly Head[]
): string {
  const lines = aligned([heads, ...rows], new Set(numeric.map((head) => heads.indexOf(head))));
  return lines.map((line) => `${line}\n`).join('');
}
