/** Durations and sizes as people write them. */

const durationUnitsMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeUnits = {
  '': 1,
  k: 1000,
  M: 1000 ** 2,
  G: 1000 ** 3,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
} as const;

/** Longest first, so that a text says as much as it can. */
const longestDurationMs = 365 * durationUnitsMs.d;

/** `500ms`, `3s`, `1.5s`, `15m`, `1h`, `1h30m`: whole milliseconds, at most a year. Undefined for anything else. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  let previous = Number.POSITIVE_INFINITY;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    const unitMs = durationUnitsMs[unit as keyof typeof durationUnitsMs];
    if (unitMs >= previous) return undefined;
    previous = unitMs;
    total += Number(number) * unitMs;
  }
  const rounded = Math.round(total);
  return Math.abs(rounded - total) < 1e-6 && rounded <= longestDurationMs ? rounded : undefined;
}

/** The shortest text for a duration of whole milliseconds: `90000` is `1m30s`. */
export function formatDurationMs(durationMs: number): string {
  let rest = durationMs;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    const count = Math.floor(rest / durationUnitsMs[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * durationUnitsMs[unit];
  }
  return text === '' ? '0s' : text;
}

/** `512`, `64Ki`, `1.5M`: a whole number. Undefined for anything else. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi)?$/.exec(text);
  if (!match) return undefined;
  const size = Number(match[1]) * sizeUnits[(match[2] ?? '') as keyof typeof sizeUnits];
  return Number.isSafeInteger(size) ? size : undefined;
}
