import { styleText } from 'node:util';
import type { DemoScene, DemoService } from './demo-plan.ts';
import type { TrafficReport } from './traffic-report.ts';

/** The demonstration's picture: pure text from the plan, the latest reports and the director's own table. */

/** A destination as the director lists it. */
export type ListedDestination = {
  readonly address: string;
  readonly weight: number;
  readonly active: number;
};
/** By virtual service (`address:port`). */
export type Listing = ReadonlyMap<string, readonly ListedDestination[]>;

/** What one virtual service's traffic has come to: the latest report and the one before, for the rates. */
export type Flow = { readonly now?: TrafficReport; readonly before?: TrafficReport };

export type PictureOptions = {
  /** What forwards; `none` where it is neither plane of ours. */
  readonly plane: keyof typeof planeNotes;
  readonly colour: boolean;
  readonly columns: number;
};

const planeNotes = {
  ebpf: 'ebpf data plane, forwards in the kernel',
  proxy: 'proxy data plane, forwards in this process',
  none: 'no ebpf data plane',
} as const;

/** Reads ipvsadm's numeric listing; lines it does not know are passed over. */
export function parseListing(text: string): Listing {
  const services = new Map<string, ListedDestination[]>();
  let current: ListedDestination[] | undefined;
  for (const line of text.split('\n')) {
    const service = /^(?:TCP|UDP|SCTP) +(\S+)/.exec(line);
    const destination = /^ {2}-> (\S+) +(?:Masq|Route|Tunnel|Local) +(\d+) +(\d+)/.exec(line);
    if (service) {
      current = [];
      services.set(service[1]!, current);
    } else if (destination && current) {
      current.push({
        address: destination[1]!,
        weight: Number(destination[2]),
        active: Number(destination[3]),
      });
    }
  }
  return services;
}

type Row = {
  readonly name: string;
  readonly address: string;
  /** As the director has it now; `removed` when it lists the server no more. */
  readonly weight: number | 'removed';
  readonly served: number;
  readonly perSecond: number;
};

function rowsOf(service: DemoService, flow: Flow, listed: readonly ListedDestination[] | undefined): Row[] {
  const { now, before } = flow;
  const seconds = now && before ? (now.elapsedMs - before.elapsedMs) / 1000 : (now?.elapsedMs ?? 0) / 1000;
  return service.servers.map(({ name, address, port, weight }) => {
    const key = `${address}:${port}`;
    const entry = listed?.find((destination) => destination.address === key);
    const served = now?.answered[name] ?? 0;
    const perSecond = seconds > 0 ? (served - (before?.answered[name] ?? 0)) / seconds : 0;
    const state = listed && !entry ? 'removed' : (entry?.weight ?? weight);
    return { name, address: key, weight: state, served, perSecond };
  });
}

const quiet = ({ weight }: Row): boolean => weight === 0 || weight === 'removed';

const sum = (counts: Readonly<Record<string, number>> = {}): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

const barWidth = 20;
const methodNotes = {
  masquerade: 'answers go back through the director',
  'direct-routing': 'answers go straight to the client',
} as const;

/** The whole picture, lines without line ends, none longer than `columns`. */
export function picture(
  scene: DemoScene,
  flows: readonly Flow[],
  listing: Listing | undefined,
  { plane, colour, columns }: PictureOptions,
): string[] {
  const paint = (format: Parameters<typeof styleText>[0], text: string) =>
    colour ? styleText(format, text, { validateStream: false }) : text;
  const lines: { plain: string; painted: string }[] = [];
  const add = (...parts: (string | [Parameters<typeof styleText>[0], string])[]) =>
    lines.push({
      plain: parts.map((part) => (typeof part === 'string' ? part : part[1])).join(''),
      painted: parts.map((part) => (typeof part === 'string' ? part : paint(...part))).join(''),
    });

  const answered = flows.reduce((total, { now }) => total + sum(now?.answered), 0);
  const failed = flows.reduce((total, { now }) => total + sum(now?.failed), 0);
  add(['bold', 'client'], `  ${scene.clientAddress}   ${count(answered)} answered, `, failureNote(failed));
  add('  |');
  add('  v');
  add(['bold', 'director'], `  ${scene.directorName}   ${planeNotes[plane]}`);
  scene.services.forEach((service, i) => {
    const flow = flows[i] ?? {};
    const last = i === scene.services.length - 1;
    const address = `${service.address}:${service.port}`;
    const rail = last ? '   ' : '  |';
    const rows = rowsOf(service, flow, listing?.get(address));
    const most = Math.max(...rows.map(({ perSecond }) => perSecond), 0.001);
    const total = rows.reduce((all, { served }) => all + served, 0);
    add('  |');
    add(
      '  +-> ',
      ['bold', address],
      `  ${service.scheduler}, ${service.method}: ${methodNotes[service.method]}`,
    );
    for (const row of rows) {
      const bar = '#'.repeat(Math.round((row.perSecond / most) * barWidth)).padEnd(barWidth, '.');
      const share = total > 0 ? `${((row.served / total) * 100).toFixed(0)} %` : '-';
      add(
        `${rail}     ${row.name}  ${row.address.padEnd(16)} weight ${String(row.weight).padEnd(7)} `,
        [quiet(row) ? 'yellow' : 'green', bar],
        ` ${row.perSecond.toFixed(1).padStart(5)}/s ${count(row.served).padStart(7)} ${share.padStart(5)}`,
        quiet(row) ? ['yellow', '  quiet'] : '',
      );
    }
    const reasons = Object.entries(flow.now?.failed ?? {}).map(
      ([reason, times]) => `${reason} ${count(times)} times`,
    );
    if (reasons.length > 0) add(`${rail}     `, ['red', `failed: ${reasons.join(', ')}`]);
    if (flow.now?.medianMs !== undefined)
      add(`${rail}     answer after ${flow.now.medianMs} ms (median), ${flow.now.worstMs} ms (worst)`);
  });
  return lines.map(({ plain, painted }) => (plain.length > columns ? plain.slice(0, columns) : painted));
}

const failureNote = (failed: number): string | ['red', string] =>
  failed > 0 ? ['red', `${count(failed)} FAILED`] : 'none failed';

const count = (value: number): string => value.toLocaleString('en-US');

/**
 * What is wrong with a finished run, one sentence each: a request without answer, a server that served nothing, a split
 * that is not the scheduler's (wrr by weight, rr evenly; one connection off is allowed, they overlap).
 */
export function splitMistakes(service: DemoService, report: TrafficReport): string[] {
  const address = `${service.address}:${service.port}`;
  const mistakes = Object.entries(report.failed).map(
    ([reason, times]) => `${address}: ${times} of ${report.opened} connections failed (${reason})`,
  );
  const answered = sum(report.answered);
  const weightOf = (weight: number) => (service.scheduler === 'rr' ? 1 : weight);
  const weights = service.servers.reduce((total, { weight }) => total + weightOf(weight), 0);
  for (const { name, weight } of service.servers) {
    const got = report.answered[name] ?? 0;
    const wanted = (answered * weightOf(weight)) / weights;
    if (got === 0) mistakes.push(`${address}: ${name} served nothing`);
    else if (Math.abs(got - wanted) > 1)
      mistakes.push(`${address}: ${name} served ${got}, ${service.scheduler} gives it ${wanted.toFixed(0)}`);
  }
  return mistakes;
}
