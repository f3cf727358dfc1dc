import { contestants, faults, type Round, sheets } from './plan.ts';

/** The rounds among everything that a guest printed. */
export function roundsIn(output: string): readonly Round[] {
  const lines = output.split('\n').filter((line) => line.startsWith('{"file":'));
  return lines.map((line) => JSON.parse(line) as Round);
}

export const headings = [
  'seconds, median / largest',
  'its own program',
  'headgate, ipvs',
  'ratio',
  'headgate, ebpf',
  'ratio',
];

/** A row for each file, fault and direction that has rounds; ratios are of the medians, to the file's own program. */
export function rowsOf(rounds: readonly Round[]): readonly (readonly string[])[] {
  return sheets.flatMap(({ file, peer, check }) =>
    faults.flatMap((fault) =>
      (['outMs', 'backMs'] as const).flatMap((direction) => {
        const [own, ipvs, ebpf] = contestants.map((contestant) =>
          spreadOf(
            rounds
              .filter((one) => one.file === file && one.fault === fault && one.contestant === contestant)
              .map((one) => one[direction]),
          ),
        );
        if (!own && !ipvs && !ebpf) return [];
        const name = `${peer} ${check}, ${fault}: ${direction === 'outMs' ? 'out' : 'back'}`;
        return [[name, cell(own), cell(ipvs), ratio(ipvs, own), cell(ebpf), ratio(ebpf, own)]];
      }),
    ),
  );
}

type Spread = { readonly median: number; readonly largest: number };

function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1]!, sorted[sorted.length >> 1]!];
  return { median: (low + high) / 2, largest: sorted.at(-1)! };
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2);
const cell = (spread: Spread | undefined): string =>
  spread ? `${seconds(spread.median)} / ${seconds(spread.largest)}` : '';
const ratio = (one: Spread | undefined, own: Spread | undefined): string =>
  one && own ? (one.median / own.median).toFixed(2) : '';
