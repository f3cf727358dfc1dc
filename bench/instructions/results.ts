/** What a guest printed, checked and turned into instructions per packet. */
import { nanosecondsPerInstruction } from '../../test/kernel/guest.ts';

/** The outcome of one run: instructions per packet, or why it counts for nothing. */
export type Outcome = { readonly instructions: number } | { readonly rejected: string };

/**
 * The outcome of a run that should have sent `packets`, from its line NAME|DELIVERED|RESULT; the result is what the
 * generator writes to its device's file (net/core/pktgen.c, show_results and pktgen_if_show).
 */
export function judge(line: string, packets: number): Outcome {
  const [, delivered = '', result = ''] = line.split('|');
  const found = /^Result: OK: (\d+)\(c\d+\+d\d+\) usec, (\d+) \(\d+byte,\d+frags\) .*errors: (\d+)/.exec(
    result,
  );
  if (!found) return { rejected: `the generator said "${result.trim()}"` };
  const [microseconds, sent, errors] = found.slice(1).map(Number) as [number, number, number];
  if (sent !== packets || errors > 0)
    return { rejected: `wanted to send ${packets}, sent ${sent} with ${errors} errors` };
  if (delivered !== String(sent)) return { rejected: `sent ${sent}, delivered ${delivered || 'nothing'}` };
  return { instructions: (microseconds * 1000) / nanosecondsPerInstruction / sent };
}

/** One point of the table. */
export type Point = { readonly median: number; readonly spread: number } | { readonly rejected: string };

/** The median of a point's rounds and how far apart they lie, as a part of it. One bad round spoils the point. */
export function summarize(outcomes: readonly Outcome[]): Point {
  const values: number[] = [];
  for (const outcome of outcomes) {
    if ('rejected' in outcome) return outcome;
    values.push(outcome.instructions);
  }
  if (values.length === 0) return { rejected: 'the guest printed no result' };
  values.sort((a, b) => a - b);
  const median = values[values.length >> 1]!;
  return { median, spread: (values.at(-1)! - values[0]!) / median };
}

/** The lines of the runs and, for each balancer, its connections by virtual address (`ipvsadm -L -n --stats --exact`). */
export function readOutput(output: string): {
  readonly lines: ReadonlyMap<string, string>;
  readonly connections: ReadonlyMap<string, ReadonlyMap<string, number>>;
} {
  const lines = new Map<string, string>();
  const connections = new Map<string, Map<string, number>>();
  let counted: Map<string, number> | undefined;
  for (const line of output.split('\n')) {
    const balancer = /^counted by (\S+)$/.exec(line)?.[1];
    const service = /^UDP +(\S+):80 +(\d+) /.exec(line);
    if (balancer) {
      counted = new Map();
      connections.set(balancer, counted);
    } else if (service) counted?.set(service[1]!, Number(service[2]));
    else if (line.includes('|')) lines.set(line.slice(0, line.indexOf('|')), line);
  }
  return { lines, connections };
}
