import { setTimeout as sleep } from 'node:timers/promises';
import { type Flow, type Listing, type PictureOptions, picture, splitMistakes } from './demo-picture.ts';
import type { DemoScene, DemoService } from './demo-plan.ts';
import type { TrafficOrder, TrafficReport } from './traffic-report.ts';

const perSecond = 30;
/** A multiple of the weights' sum (6) and of the servers' number (3), so that every scheduler's split is exact. */
const requestsWhenOnce = 60;
const repaintMs = 1000;

/** Running traffic to one virtual service. */
export type DemoTraffic = { readonly finished: Promise<TrafficReport>; stop(): void };

/** A demonstration that is set up: what is shown, and how it is worked. */
export type Stage = {
  readonly scene: DemoScene;
  /** What forwards at this moment. */
  plane(): PictureOptions['plane'];
  traffic(order: TrafficOrder, onReport?: (report: TrafficReport) => void): DemoTraffic;
  /** The director's own table; undefined where it cannot be asked. */
  list(signal?: AbortSignal): Promise<Listing | undefined>;
  /** What a person may type meanwhile, line by line. */
  readonly hints: readonly string[];
  /** The line under the live picture. */
  readonly farewell: string;
};

export type ShowOptions = {
  readonly write: (text: string) => void;
  /** A terminal gets the live picture, anything else one run and its table. */
  readonly isTTY: boolean;
  /** Ends the show: Ctrl-C. */
  readonly signal: AbortSignal;
  readonly columns?: () => number;
  readonly colour?: boolean;
};

/**
 * Shows who serves what: on a terminal until `signal`, elsewhere once. Resolves to the exit status: 0, or 1 when an answer
 * was missing or the split was not the scheduler's.
 */
export function show(stage: Stage, options: ShowOptions): Promise<number> {
  return options.isTTY ? live(stage, options) : once(stage, options);
}

const orderOf = ({ address, port }: DemoService): TrafficOrder => ({
  protocol: 'tcp',
  address,
  port,
  perSecond,
});

/** Sends a fixed number of connections, prints the picture they leave and judges it. */
async function once(stage: Stage, { write, signal }: ShowOptions): Promise<number> {
  const { scene } = stage;
  write(`Sending ${requestsWhenOnce} connections to each virtual service\n`);
  const runs = scene.services.map((service) =>
    stage.traffic({ ...orderOf(service), total: requestsWhenOnce }),
  );
  const stop = () => {
    for (const run of runs) run.stop();
  };
  signal.addEventListener('abort', stop, { once: true });
  const reports = await Promise.all(runs.map(({ finished }) => finished));
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  const listing = await stage.list();
  const flows = reports.map((now) => ({ now }));
  const lines = picture(scene, flows, listing, { plane: stage.plane(), colour: false, columns: 120 });
  write(`\n${lines.join('\n')}\n\n`);
  const mistakes = scene.services.flatMap((service, i) => splitMistakes(service, reports[i]!));
  if (mistakes.length > 0) {
    write(`NOT as it should be:\n${mistakes.map((mistake) => `  ${mistake}\n`).join('')}`);
    return 1;
  }
  write("As it should be: every server answered, and the split is the scheduler's.\n");
  return 0;
}

/**
 * Paints the picture once a second until `signal`. Only the picture is painted over: it fits 24 lines, and the commands
 * to type stay above it where they can be scrolled to and copied.
 */
async function live(stage: Stage, options: ShowOptions): Promise<number> {
  const { scene } = stage;
  const { write, signal } = options;
  const flows: Flow[] = scene.services.map(() => ({}));
  const runs = scene.services.map((service, i) =>
    stage.traffic({ ...orderOf(service), reportEveryMs: repaintMs }, (now) => {
      flows[i] = { now, ...(flows[i]?.now ? { before: flows[i].now } : {}) };
    }),
  );
  const colour = options.colour ?? !process.env.NO_COLOR;
  const columns = options.columns ?? (() => process.stdout.columns || 80);
  let height = 0;
  let listing: Listing | undefined;
  write(`${stage.hints.join('\n')}\n\n`);
  while (!signal.aborted) {
    const lines = picture(scene, flows, listing, { plane: stage.plane(), colour, columns: columns() });
    write(`${height > 0 ? `\x1b[${height}A\x1b[J` : ''}${lines.join('\n')}\n\n${stage.farewell}\n`);
    height = lines.length + 2;
    const pause = sleep(repaintMs, undefined, { signal }).catch(() => undefined);
    listing = (await stage.list(signal).catch(() => undefined)) ?? listing;
    await pause;
  }
  for (const run of runs) run.stop();
  return 0;
}
