import { notServing } from '../control/real-server-report.ts';
import type { About, ServiceReport, StatusReport } from '../control/status.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import { span } from '../model/span.ts';
import { aligned } from './columns.ts';
import { productVersion, type Streams } from './context.ts';
import { servicesText } from './get.ts';
import { look } from './inspect.ts';
import { type Output, write } from './output.ts';
import { reportError } from './report-error.ts';

export type StatusOptions = { readonly output: Output; readonly all?: boolean };

/** Exit codes of `status`. */
const healthCodes = { ok: 0, degraded: 1, down: 2, unreachable: 3 } as const;

/** `status [FILE]`: the exit code says how it stands. */
export async function showStatus(
  file: string | undefined,
  { output, all = false }: StatusOptions,
  streams: Streams,
): Promise<number> {
  try {
    const report = await look(file);
    await write(streams, output, report, () => statusText(report, { all, now: new Date() }));
    return healthCodes[report.health];
  } catch (error) {
    if (!(error instanceof HeadgateError)) throw error;
    await reportError(error, {
      write: (text) => streams.stderr.write(text),
      format: output,
      version: productVersion(),
    });
    return healthCodes.unreachable;
  }
}

/** What fits on one screen; of more, those with problems are shown, and so many of the problems. */
const mostServices = 20;
const mostProblems = 10;
const mostNames = 5;

/** The screen for a person: the sums, what is wrong, and the services, with problems first. */
export function statusText(
  report: StatusReport,
  { all, now }: { readonly all: boolean; readonly now: Date },
): string {
  const { host, daemon, dataPlane, connectionTable, services, virtualAddresses, problems } = report;
  const lines = aligned([
    ['host', host],
    ['configuration', configurationText(report, now)],
    ['traffic', trafficText(report)],
    [
      'daemon',
      daemon
        ? `process ${daemon.pid} since ${span(now.getTime() - Date.parse(daemon.startedAt))}`
        : 'none runs: the data plane goes on as it was left',
    ],
    ...vrrpRows(report),
    ['data plane', `${dataPlane.name}: ${dataPlane.description}`],
    ['services', servicesLine(services)],
    ['real servers', realServersLine(services)],
    ...(virtualAddresses
      ? [['addresses', `${virtualAddresses.held} of ${virtualAddresses.of} virtual ones on this host`]]
      : []),
    ['connections', `${connectionTable.used} of ${connectionTable.size}`],
    ['checks', checksLine(report)],
  ]);
  if (problems.length > 0) lines.push('', 'PROBLEMS', ...problemLines(problems, all));
  if (services.length === 0)
    lines.push(
      '',
      'There is no virtual service yet; next: headgate apply FILE, or headgate ipvsadm -A -t ADDRESS:PORT',
    );
  const shown = all || services.length <= mostServices ? services : services.filter(isNoteworthy);
  if (shown.length > 0) lines.push('', servicesText(shown.toSorted(worstFirst)).trimEnd());
  if (shown.length < services.length)
    lines.push(
      '',
      `${count(services.length - shown.length, 'service')} without a problem not shown; next: headgate status --all`,
    );
  return `${lines.join('\n')}\n`;
}

const ranks = { down: 0, degraded: 1, ok: 2 } as const;
const worstFirst = (a: ServiceReport, b: ServiceReport): number => ranks[a.health] - ranks[b.health];
const isNoteworthy = ({ health }: ServiceReport): boolean => health !== 'ok';

function configurationText({ configuration }: StatusReport, now: Date): string {
  const { file, state, generation, appliedAt, differences, runtimeChanges } = configuration;
  const applied =
    generation !== undefined && appliedAt !== undefined
      ? `generation ${generation}, applied ${span(now.getTime() - Date.parse(appliedAt))} ago`
      : undefined;
  const said = {
    accepted: `accepted: ${file}, ${applied ?? 'never applied'}`,
    failed: `failed: ${file}, see below; in force stays ${applied ?? 'what was there'}`,
    absent: `absent: there is no ${file}`,
  }[state];
  const more = [
    ...(differences !== undefined && differences > 0
      ? [`differs in ${count(differences, 'place')} (headgate plan ${file})`]
      : []),
    ...(runtimeChanges > 0 ? [`${count(runtimeChanges, 'change')} at runtime over it`] : []),
  ];
  return [said, ...more].join('; ');
}

function trafficText({ services }: StatusReport): string {
  const open = services.filter(({ traffic }) => traffic !== 'down').length;
  if (services.length === 0) return 'none: there is no virtual service';
  const cps = services.reduce((sum, one) => sum + one.connectionsPerSecond, 0);
  const active = services.reduce((sum, one) => sum + one.active, 0);
  return `${open} of ${services.length} services can be reached; ${count(active, 'active connection')}, ${cps} new a second`;
}

/** One row an instance, `failover` before the first. */
function vrrpRows({ vrrp = [] }: StatusReport): string[][] {
  return vrrp.map(({ name, state, forMs, priority, reason, master }, i) => {
    const heard =
      state === 'backup' && master
        ? `master ${master.source} (priority ${master.priority}) heard ${(master.agoMs / 1000).toFixed(1)}s ago`
        : reason;
    return [
      i === 0 ? 'failover' : '',
      `${name} ${state.toUpperCase()} since ${span(forMs)} (priority ${priority}): ${heard}`,
    ];
  });
}

function servicesLine(services: readonly ServiceReport[]): string {
  const health = (['down', 'degraded', 'ok'] as const).map((state) => ({
    state,
    number: services.filter((one) => one.health === state).length,
  }));
  const found = health.filter(({ number }) => number > 0);
  return [
    String(services.length),
    ...(found.length > 0 ? [found.map(({ state, number }) => `${number} ${state}`).join(', ')] : []),
  ].join(': ');
}

function realServersLine(services: readonly ServiceReport[]): string {
  const all = services.flatMap(({ realServers }) => realServers);
  const states = ([...notServing, 'sorry'] as const).flatMap((state) => {
    const number = all.filter((one) => one.state === state).length;
    return number > 0 ? [`${number} ${state}`] : [];
  });
  const ready = `${all.filter(({ state }) => state === 'ready').length} of ${all.length} ready`;
  return states.length > 0 ? `${ready}: ${states.join(', ')}` : ready;
}

function checksLine({ services, daemon, virtualAddresses }: StatusReport): string {
  const all = services.flatMap(({ realServers }) => realServers);
  const checked = all.filter(({ check }) => check);
  const others = `judged by weight${virtualAddresses ? ', route and ARP' : ''}, not by what they answer`;
  if (checked.length === 0) return `none: real servers are ${others}`;
  if (!daemon) return `nobody is checking now: no daemon runs; what was found last stays in force`;
  const up = checked.filter(({ check }) => check!.isUp).length;
  const rest = all.length - checked.length;
  return `${up} of ${count(checked.length, 'real server')} up${rest > 0 ? `; ${rest} others are ${others}` : ''}`;
}

/** A sentence each, with whom it is about and the next step. */
export function problemLines(problems: readonly About[], all: boolean): string[] {
  const shown = all ? problems : problems.slice(0, mostProblems);
  const lines = shown.flatMap(({ about, what, remedy }) => [
    `  ${whomText(about, all)}: ${what}`,
    `    next: ${remedy}`,
  ]);
  const rest = problems.length - shown.length;
  return rest > 0 ? [...lines, `  and ${rest} more; next: headgate status --all`] : lines;
}

function whomText(about: readonly string[], all: boolean): string {
  if (all || about.length <= mostNames) return about.join(', ');
  return `${about.slice(0, mostNames).join(', ')} and ${about.length - mostNames} more`;
}
