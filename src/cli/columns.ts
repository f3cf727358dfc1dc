/** Lines of columns two spaces apart; those of numbers at the right of their width. */
export function aligned(
  rows: readonly (readonly string[])[],
  numeric: ReadonlySet<number> = new Set(),
): string[] {
  return alignedTo(widthsOf(rows), rows, numeric);
}

/** A table with its heads; the columns that are named hold numbers. */
export function table<Head extends string>(
  heads: readonly Head[],
  rows: readonly (readonly string[])[],
  ...numeric: readonly Head[]
): string {
  return tableInPieces(heads, ...numeric)(rows);
}

/** The same piece by piece: the heads stand above the first one, and no column is narrower than it was before. */
export function tableInPieces<Head extends string>(
  heads: readonly Head[],
  ...numeric: readonly Head[]
): (rows: readonly (readonly string[])[]) => string {
  const places = new Set(numeric.map((head) => heads.indexOf(head)));
  let above: readonly (readonly string[])[] = [heads];
  let widths: readonly number[] = [];
  return (rows) => {
    const lines = [...above, ...rows];
    above = [];
    widths = widthsOf(lines, widths);
    return alignedTo(widths, lines, places)
      .map((line) => `${line}\n`)
      .join('');
  };
}

function widthsOf(rows: readonly (readonly string[])[], least: readonly number[] = []): number[] {
  const widths = [...least];
  for (const row of rows)
    for (const [i, { length }] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, length);
  return widths;
}

function alignedTo(
  widths: readonly number[],
  rows: readonly (readonly string[])[],
  numeric: ReadonlySet<number>,
): string[] {
  const cell = (text: string, i: number) =>
    numeric.has(i) ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
  return rows.map((row) => row.map(cell).join('  ').trimEnd());
}
