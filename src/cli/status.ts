import { notServing } from '../control/real-server-report.ts';
import {
  type BriefProblem,
  type Some,
  type StatusSummary,
  type Sums,
  summaryOf,
} from '../control/summary.ts';
import type { RunningSync } from '../model/connection-sync.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import { span } from '../model/span.ts';
import { aligned } from './columns.ts';
import { productVersion, type Streams } from './context.ts';
import { directorsText, peerRows } from './directors.ts';
import { servicesText } from './get.ts';
import { glance, look } from './inspect.ts';
import { inLightOfBuilds } from './other-build.ts';
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
    // Of thousands of real servers, one screen needs only what they add up to.
    const report = output === 'text' && !all ? undefined : await look(file);
    const summary = report ? summaryOf(report, all) : await glance(file);
    await write(streams, output, report, () => statusText(summary, new Date()));
    return healthCodes[summary.health];
  } catch (thrown) {
    const error = inLightOfBuilds(thrown);
    if (!(error instanceof HeadgateError)) throw error;
    await reportError(error, {
      write: (text) => streams.stderr.write(text),
      format: output,
      version: productVersion(),
    });
    return healthCodes.unreachable;
  }
}

/** The screen for a person: the sums, what is wrong, and the services, with problems first. */
export function statusText(summary: StatusSummary, now: Date): string {
  const { host, daemon, dataPlane, connectionTable, sums, services, virtualAddresses, problems } = summary;
  const lines = aligned([
    ['host', host],
    ['configuration', configurationText(summary, now)],
    ['traffic', trafficText(sums)],
    [
      'daemon',
      daemon
        ? `process ${daemon.pid} since ${span(now.getTime() - Date.parse(daemon.startedAt))}`
        : 'none runs: the data plane goes on as it was left',
    ],
    ...vrrpRows(summary),
    ...syncRows(summary),
    ...peerRows(summary),
    ['data plane', `${dataPlane.name}: ${dataPlane.description}`],
    ['services', servicesLine(sums)],
    ['real servers', realServersLine(sums)],
    ...(virtualAddresses
      ? [['addresses', `${virtualAddresses.held} of ${virtualAddresses.of} virtual ones on this host`]]
      : []),
    [
      'connections',
      // IPVS counts hash buckets: its table takes as many connections as there is memory for.
      dataPlane.name === 'ipvs'
        ? `${connectionTable.used}`
        : `${connectionTable.used} of ${connectionTable.size}`,
    ],
    ['checks', checksLine(summary)],
  ]);
  const directors = directorsText(summary);
  if (directors !== undefined) lines.push('', directors.trimEnd());
  if (problems.first.length > 0) lines.push('', 'PROBLEMS', ...problemLines(problems));
  if (total(sums.services) === 0)
    lines.push(
      '',
      'There is no virtual service yet; next: headgate apply FILE, or headgate ipvsadm -A -t ADDRESS:PORT',
    );
  if (services.first.length > 0) lines.push('', servicesText(services.first).trimEnd());
  if (services.more > 0) lines.push('', leftOutText(summary));
  return `${lines.join('\n')}\n`;
}

const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, one) => sum + one, 0);

function leftOutText({ services: { first, more }, sums }: StatusSummary): string {
  const shown = first.filter(({ health }) => health !== 'ok').length;
  const left = sums.services.down + sums.services.degraded - shown;
  const which = left > 0 ? ` not shown, ${left} of them with problems` : ' without a problem not shown';
  return `${count(more, 'service')}${which}; next: headgate status --all`;
}

function configurationText({ configuration }: StatusSummary, now: Date): string {
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

function trafficText({ services, reachable, active, connectionsPerSecond }: Sums): string {
  const all = total(services);
  if (all === 0) return 'none: there is no virtual service';
  return `${reachable} of ${all} services can be reached; ${count(active, 'active connection')}, ${connectionsPerSecond} new a second`;
}

/** One row an instance, `failover` before the first. */
function vrrpRows({ vrrp = [] }: StatusSummary): string[][] {
  return vrrp.map(({ name, state, forMs, priority, reason, master, standsBack }, i) => {
    const heard =
      state === 'backup' && master
        ? `master ${master.source} (priority ${master.priority}) heard ${(master.agoMs / 1000).toFixed(1)}s ago`
        : reason;
    const back = standsBack ? '; it stands back until: headgate failover --back' : '';
    return [
      i === 0 ? 'failover' : '',
      `${name} ${state.toUpperCase()} since ${span(forMs)} (priority ${priority}): ${heard}${back}`,
    ];
  });
}

/** One row a process that tells or hears of connections. */
function syncRows({ sync = [] }: StatusSummary): string[][] {
  return sync.map((one, i) => [i === 0 ? 'sync' : '', `${one.role} on ${one.interface}${syncWords(one)}`]);
}

function syncWords({ role, progress }: RunningSync): string {
  if (!progress) return '';
  const { encrypted, messages, connections, unbound, refused, lastRefusal, lagMs, silentMs } = progress;
  const { waiting, missed, missing } = progress;
  const done = `${count(connections, 'connection')} in ${count(messages, 'message')}`;
  const words = [
    role === 'master' ? `${done} sent` : silentMs === undefined ? 'nothing received yet' : `${done} received`,
    ...(missing ? [`${count(missing, 'lost message')} not told again yet`] : []),
    ...(missed ? [`${count(missed, 'message')} lost and asked for`] : []),
    ...(waiting ? [`${count(waiting, 'message')} waiting`] : []),
    ...(lagMs !== undefined && lagMs > 0 ? [`lag ${lagMs} ms`] : []),
    ...(silentMs !== undefined ? [`the last ${span(silentMs)} ago`] : []),
    ...(unbound > 0 ? [`${unbound} without a real server here`] : []),
    ...(refused > 0 ? [`${refused} refused: ${lastRefusal}`] : []),
  ];
  return `${encrypted ? ', encrypted' : ''}: ${words.join(', ')}`;
}

function servicesLine({ services }: Sums): string {
  const found = (['down', 'degraded', 'ok'] as const).filter((state) => services[state] > 0);
  const said = found.map((state) => `${services[state]} ${state}`).join(', ');
  return [String(total(services)), ...(found.length > 0 ? [said] : [])].join(': ');
}

function realServersLine({ realServers }: Sums): string {
  const states = ([...notServing, 'sorry'] as const).flatMap((state) =>
    realServers[state] === undefined ? [] : [`${realServers[state]} ${state}`],
  );
  const ready = `${realServers.ready ?? 0} of ${total(realServers)} ready`;
  return states.length > 0 ? `${ready}: ${states.join(', ')}` : ready;
}

function checksLine(summary: StatusSummary): string {
  const { sums, daemon, virtualAddresses, configuration } = summary;
  const { realServers, checked } = sums;
  const others = `judged by weight${virtualAddresses ? ', route and ARP' : ''}, not by what they answer`;
  if (checked.of === 0 && configuration.unchecked !== undefined)
    return `none is run: no daemon runs, and ${count(configuration.unchecked, 'real server')} should be checked; next: headgate run ${configuration.file}`;
  if (checked.of === 0) return `none: real servers are ${others}`;
  if (!daemon) return `nobody is checking now: no daemon runs; what was found last stays in force`;
  const rest = total(realServers) - checked.of;
  return `${checked.up} of ${count(checked.of, 'real server')} up${rest > 0 ? `; ${rest} others are ${others}` : ''}`;
}

/** A sentence each, with whom it is about and the next step. */
export function problemLines({ first, more }: Some<BriefProblem>): string[] {
  const lines = first.flatMap(({ about, what, remedy }) => [
    `  ${about.first.join(', ')}${about.more > 0 ? ` and ${about.more} more` : ''}: ${what}`,
    `    next: ${remedy}`,
  ]);
  return more > 0 ? [...lines, `  and ${more} more; next: headgate status --all`] : lines;
}
