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

/** A time span in its two largest units: `3h12m`, `41s`, `2d4h`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'm'],
    [1, 's'],
  ] as const;
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return '0s';
  const parts: string[] = [];
  let left = seconds;
  for (const [size, unit] of units.slice(first, first + 2)) {
    const number = Math.floor(left / size);
    left -= number * size;
    if (number > 0) parts.push(`${number}${unit}`);
  }
  return parts.join('');
}
