import { expect, it } from 'vitest';
import { roundsIn, rowsOf } from '../../bench/removal/figures.ts';

const round = (contestant: string, fault: string, outMs: number, backMs: number) =>
  JSON.stringify({ file: 'http.conf', contestant, fault, outMs, backMs });

it('rows have median and largest of each contestant, and ratios of medians to the file’s own program', () => {
  const output = [
    'what a program said',
    round('peer', 'killed', 2000, 400),
    round('peer', 'killed', 1000, 600),
    round('ipvs', 'killed', 1500, 100),
    round('ebpf', 'killed', 3000, 1000),
    round('ebpf', 'killed', 600, 990),
    round('ebpf', 'killed', 900, 5),
    round('ipvs', 'cut', 2500, 10),
  ].join('\n');
  expect(rowsOf(roundsIn(output))).toEqual([
    ['keepalived HTTP_GET, killed: out', '1.50 / 2.00', '1.50 / 1.50', '1.00', '0.90 / 3.00', '0.60'],
    ['keepalived HTTP_GET, killed: back', '0.50 / 0.60', '0.10 / 0.10', '0.20', '0.99 / 1.00', '1.98'],
    ['keepalived HTTP_GET, cut: out', '', '2.50 / 2.50', '', '', ''],
    ['keepalived HTTP_GET, cut: back', '', '0.01 / 0.01', '', '', ''],
  ]);
});
