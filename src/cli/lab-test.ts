import type { Headgate } from '../lab/director.ts';
import { quickSchedulers, testMethods, testSchedulers } from '../lab/test-plan.ts';
import { runLabTest, type TestOrder } from '../lab/test-run.ts';
import { tableEnd, tableHead, tableRow } from '../lab/test-table.ts';
import { isInstalled } from '../lab/test-traffic.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { meant } from './usage-error.ts';

export type LabTestOptions = {
  readonly quick?: boolean;
  readonly method?: readonly string[];
  readonly scheduler?: readonly string[];
  readonly output: Output;
};

const interrupted = 130;

/** `lab test`: exit code 0 when every row is as it should be, else 1. The first Ctrl-C ends it in good order. */
export async function labTest(
  options: LabTestOptions,
  headgate: Headgate,
  streams: Streams,
): Promise<number> {
  const order = orderOf(options);
  const ended = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const end = (): void => {
    for (const name of signals) process.off(name, end);
    ended.abort();
  };
  for (const name of signals) process.on(name, end);
  const text = options.output === 'text';
  try {
    if (text) streams.stdout.write(`${tableHead()}\n`);
    const rows = await runLabTest(
      order,
      headgate,
      (row) => text && streams.stdout.write(`${tableRow(row, order.transferBytes)}\n`),
      ended.signal,
    );
    const missing = ['curl', 'wrk'].filter((program) => !isInstalled(program));
    await write(
      streams,
      options.output,
      { missing, rows },
      () => `\n${tableEnd(rows, missing).join('\n')}\n`,
    );
    if (ended.signal.aborted) return interrupted;
    return rows.every(({ ok }) => ok) ? 0 : 1;
  } finally {
    for (const name of signals) process.off(name, end);
  }
}

function orderOf({ quick = false, method, scheduler }: LabTestOptions): TestOrder {
  return {
    methods: chosen('method', method, testMethods) ?? testMethods,
    schedulers: chosen('scheduler', scheduler, testSchedulers) ?? (quick ? quickSchedulers : testSchedulers),
    offloads: ['on', 'off'],
    connections: 24,
    loadSeconds: 1,
    transferBytes: 100_000_000,
    everyScheduler: !quick,
  };
}

/** The words of an option that may be given several times, each of which must be a known one. */
function chosen<Word extends string>(
  option: string,
  words: readonly string[] | undefined,
  known: readonly Word[],
): readonly Word[] | undefined {
  return words?.map((word) => {
    const found = known.find((name) => name === word);
    if (found !== undefined) return found;
    const near = meant(word, known);
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot test the ${option} "${word}": wanted one of ${known.join(', ')}`,
      near === undefined ? {} : { hint: `did you mean "--${option} ${near}"?` },
    );
  });
}
