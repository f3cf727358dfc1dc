/** What is measured of each contestant in each round, and what is wanted of it. */
export const measures = {
  requests: { heading: 'requests/s', digits: 0 },
  connections: { heading: 'new conn./s', digits: 0 },
  cpu: { heading: 'CPU µs/conn.', digits: 1 },
  alone: { heading: 'on one CPU', digits: 1 },
  down: { heading: 'Gbit/s down', digits: 1 },
  up: { heading: 'Gbit/s up', digits: 1 },
} as const;
export type Measure = keyof typeof measures;
export const measureNames = Object.keys(measures) as Measure[];

/** A figure, or why there is none. */
export type Figure = number | string;
/** Of one contestant, a round each. */
export type Rounds = readonly Readonly<Record<Measure, Figure>>[];

export type Summary = {
  /** Median over the rounds; where none was measured, why. */
  readonly median: Figure;
  /** Median of the ratios to `base` in the same round. */
  readonly ratio?: number;
};

/** Sums up one measure of a contestant; `base` has as many rounds. */
export function summarize(rounds: Rounds, base: Rounds, measure: Measure): Summary {
  const values = rounds.map((round) => round[measure]);
  const numbers = values.filter(isNumber);
  if (numbers.length === 0) return { median: values.at(-1) ?? 'not measured' };
  const ratios = values.flatMap((value, round) => {
    const other = base[round]?.[measure];
    return isNumber(value) && isNumber(other) ? [value / other] : [];
  });
  return { median: median(numbers), ...(ratios.length > 0 && { ratio: median(ratios) }) };
}

const isNumber = (figure: Figure | undefined): figure is number => typeof figure === 'number';

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** As it stands in a table. */
export function figureText(figure: Figure, digits: number): string {
  if (!isNumber(figure)) return '-';
  return figure.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
