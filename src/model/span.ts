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
