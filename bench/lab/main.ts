/**
 * Headgate against what else could stand in its place: whole connections through namespaces, one contestant after the
 * other, round by round.
 *
 * Usage: npm run bench:lab [-- --rounds N --only TEXT -o json]
 */
import { readArguments, refuse } from '../arguments.ts';
import { machine, printTable, takePrecedence } from '../machine.ts';
import { type Contestant, contestants } from './contestants.ts';
import { type Figure, figureText, type Measure, measureNames, measures, summarize } from './figures.ts';
import { newConnections, onOneCpu, requestsPerSecond, throughput } from './load.ts';
import { openSite, type Site } from './site.ts';

const options = readArguments(import.meta.filename, { rounds: 5, only: '', output: 'text' });
const { rounds } = options;
if (options.output !== 'text' && options.output !== 'json')
  refuse(`--output "${options.output}": wanted text or json`);

type Turn = Record<Measure, Figure>;

/** Those asked for, with what they are compared to. */
function chosen(): Contestant[] {
  const named = contestants.filter(({ name }) => name.toLowerCase().includes(options.only.toLowerCase()));
  if (named.length === 0)
    refuse(`--only "${options.only}": wanted one of ${contestants.map(({ name }) => name).join(', ')}`);
  return contestants.filter((one) => named.includes(one) || named.some(({ base }) => base === one.name));
}

/** Everything of one contestant, in one round. */
async function takeTurn(site: Site, { start, targets, alone, offloads }: Contestant): Promise<Turn> {
  const turn: Turn = { requests: 0, connections: 0, cpu: 0, alone: 0, down: 0, up: 0 };
  /** Stores figures, or in their place why they are missing. */
  const measure = async (names: readonly Measure[], work: () => Promise<readonly number[]>) => {
    try {
      const figures = await work();
      names.forEach((name, index) => {
        turn[name] = figures[index]!;
      });
    } catch (error) {
      site.signal.throwIfAborted();
      for (const name of names) turn[name] = error instanceof Error ? error.message : String(error);
    }
  };
  let stop: (() => Promise<void>) | undefined;
  try {
    site.setOffloads(offloads ?? 'on');
    stop = await start?.(site);
  } catch (error) {
    site.signal.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    for (const name of measureNames) turn[name] = why;
    return turn;
  }
  try {
    await measure(['requests'], async () => [await requestsPerSecond(site, targets)]);
    await measure(['connections', 'cpu'], async () => {
      const { perSecond, microseconds } = await newConnections(site, targets);
      return [perSecond, microseconds];
    });
    await measure(['alone'], async () => [await onOneCpu(site, alone)]);
    await measure(['down'], async () => [await throughput(site, 'down', alone)]);
    await measure(['up'], async () => [await throughput(site, 'up', alone)]);
  } finally {
    await stop?.();
  }
  return turn;
}

/** Every contestant once a round, each round beginning with another one. */
async function compete(site: Site, field: readonly Contestant[]): Promise<Map<string, Turn[]>> {
  const turns = new Map(field.map(({ name }): [string, Turn[]] => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (let place = 0; place < field.length; place++) {
      const contestant = field[(round + place) % field.length]!;
      process.stderr.write(`round ${round + 1} of ${rounds}: ${contestant.name}\n`);
      turns.get(contestant.name)!.push(await takeTurn(site, contestant));
    }
  }
  return turns;
}

function report(field: readonly Contestant[], turns: ReadonlyMap<string, Turn[]>): void {
  const rows = field.map(({ name, base }) => ({
    name,
    base,
    summaries: measureNames.map((measure) => ({
      measure,
      ...summarize(turns.get(name)!, turns.get(base) ?? [], measure),
    })),
  }));
  if (options.output === 'json') {
    const results = rows.map(({ name, base, summaries }) => ({
      name,
      base,
      ...Object.fromEntries(
        summaries.map(({ measure, ...summary }) => [
          measure,
          { ...summary, rounds: turns.get(name)!.map((turn) => turn[measure]) },
        ]),
      ),
    }));
    process.stdout.write(`${JSON.stringify({ machine: machine(), rounds, results }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${machine()}\n${rounds} rounds; medians, and medians of the ratios to the base\n`);
  for (const base of new Set(rows.map((row) => row.base))) {
    process.stdout.write('\n');
    printTable(
      [`base: ${base}`, ...measureNames.flatMap((measure) => [measures[measure].heading, 'x base'])],
      rows
        .filter((row) => row.base === base)
        .map(({ name, summaries }) => [
          name,
          ...summaries.flatMap(({ measure, median, ratio }) => [
            figureText(median, measures[measure].digits),
            ratio === undefined ? '' : ratio.toFixed(2),
          ]),
        ]),
    );
  }
  for (const { name, summaries } of rows)
    for (const why of new Set(
      summaries.flatMap(({ median }) => (typeof median === 'string' ? [median] : [])),
    ))
      process.stdout.write(`\n${name}: ${why}\n`);
}

async function main(): Promise<void> {
  const field = chosen();
  const aborting = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => aborting.abort(signal));
  takePrecedence();
  const site = await openSite(`b${process.pid.toString(36)}`, aborting.signal);
  try {
    report(field, await compete(site, field));
  } catch (error) {
    if (!aborting.signal.aborted) throw error;
    process.stderr.write(`ended by ${aborting.signal.reason}\n`);
    process.exitCode = 130;
  } finally {
    site.down();
  }
}

await main();
