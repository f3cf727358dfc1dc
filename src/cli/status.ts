import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { loadConfiguration } from '../config/load.ts';
import { count } from '../control/change.ts';

import {
  type RealServerReport,
  type ServiceReport,
  type Source,
  type StatusReport,
  statusOf,
} from '../control/status.ts';
import { wantedOf } from '../control/wanted.ts';
import { HeadgateError } from '../model/errors.ts';
import { countMistakes } from '../model/problem.ts';
import { suggest } from '../model/suggest.ts';
import { connect } from './connect.ts';
import { productVersion, type Streams } from './context.ts';
import { exitCodes, reportError } from './report-error.ts';

type Output = { readonly output: 'text' | 'json' };

const usualFile = '/etc/headgate/headgate.yaml';

/** Exit codes of `status`. */
const healthCodes = { ok: 0, degraded: 1, down: 2, unreachable: 3 } as const;

/** `status [FILE]`. */
export async function showStatus(
  file: string | undefined,
  options: Output,
  streams: Streams,
): Promise<number> {
  try {
    const report = await look(file);
    streams.stdout.write(options.output === 'json' ? `${JSON.stringify(report)}\n` : statusText(report));
    return healthCodes[report.health];
  } catch (error) {
    if (!(error instanceof HeadgateError) || error.code === 'HG_USAGE') throw error;
    const write = (text: string) => streams.stderr.write(text);
    reportError(error, { write, format: options.output, version: productVersion() });
    return healthCodes.unreachable;
  }
}

const kinds = ['services', 'real-servers'] as const;

/** `get services|real-servers [SERVICE]`. */
export async function getTable(
  kind: string,
  wanted: string | undefined,
  options: Output & { readonly file?: string },
  streams: Streams,
): Promise<number> {
  if (!kinds.some((one) => one === kind)) {
    const near = suggest(kind, kinds);
    throw new HeadgateError('HG_USAGE', `Cannot get "${kind}": wanted services or real-servers`, {
      hint: near === undefined ? 'headgate get --help' : `headgate get ${near}`,
    });
  }
  const report = await look(options.file);
  const services = wanted === undefined ? report.services : select(report.services, wanted);
  if (report.problems.some(({ about }) => about === report.file))
    streams.stderr.write(
      `headgate: "${report.file}" has mistakes, so nothing is called by name\n  next: headgate validate ${report.file}\n`,
    );
  if (kind === 'services')
    streams.stdout.write(
      options.output === 'json'
        ? `${JSON.stringify(services.map(({ realServers, ...rest }) => ({ ...rest, realServers: realServers.length })))}\n`
        : servicesText(services),
    );
  else
    streams.stdout.write(
      options.output === 'json'
        ? `${JSON.stringify(services.flatMap(({ name, realServers }) => realServers.map((one) => ({ service: name, ...one }))))}\n`
        : realServersText(services, wanted === undefined),
    );
  return exitCodes.done;
}

async function look(file: string | undefined): Promise<StatusReport> {
  const source = sourceFor(file);
  const controller = await connect();
  try {
    return await statusOf(controller, source, hostname());
  } finally {
    await controller.close();
  }
}

/** What a configuration says; the usual one need not be there. */
function sourceFor(given: string | undefined): Source {
  const file = given ?? usualFile;
  const plan = given === undefined ? 'headgate plan' : `headgate plan ${given}`;
  if (given === undefined && !existsSync(file)) return { file, plan };
  const { configuration, problems } = loadConfiguration(file);
  if (configuration === undefined)
    return {
      file,
      plan,
      problem: {
        what: `${countMistakes(problems)}, so it is not compared with what is in force`,
        remedy: `headgate validate ${file}`,
      },
    };
  const { dataPlane } = configuration;
  if (dataPlane === 'proxy' || dataPlane === 'ipvs')
    return {
      file,
      plan,
      problem: {
        what: `it is for the data plane "${dataPlane}", not for this one`,
        remedy: 'dataPlane: ebpf, or auto',
      },
    };
  return { file, plan, wanted: wantedOf(configuration) };
}

/** The services of this name or address; one name may stand for several addresses. */
function select(services: readonly ServiceReport[], wanted: string): readonly ServiceReport[] {
  const found = services.filter(
    ({ name, address }) =>
      name === wanted ||
      name.startsWith(`${wanted} (`) ||
      address === wanted ||
      address.endsWith(` ${wanted}`),
  );
  if (found.length > 0) return found;
  const near = suggest(
    wanted,
    services.map(({ name }) => name),
  );
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot get "${wanted}": there is no virtual service of this name or address`,
    {
      hint: near === undefined ? 'headgate get services' : `did you mean "${near}"?`,
    },
  );
}

/** The screen for a person. */
export function statusText(report: StatusReport): string {
  const { host, dataPlane, connectionTable, file, differences, runtimeChanges, services, problems } = report;
  const all = services.flatMap(({ realServers }) => realServers);
  const usable = services.reduce((sum, one) => sum + one.usable, 0);
  const inForce = services.filter(({ configuration }) => configuration !== 'not in force').length;
  const plan = file === usualFile ? 'headgate plan' : `headgate plan ${file}`;
  const lines = [
    ...aligned([
      ['host', host],
      ['data plane', `${dataPlane.name}: ${dataPlane.description}`],
      ['connections', `${connectionTable.used} of ${connectionTable.size}`],
      ['services', String(inForce)],
      ['real servers', `${usable} of ${all.length} usable`],
      ['checks', 'none: real servers are judged by weight, route and ARP, not by what they answer'],
    ]),
  ];
  if (differences !== undefined && differences > 0)
    lines.push(`differs from ${file} in ${count(differences, 'place')}; next: ${plan}`);
  if (runtimeChanges > 0)
    lines.push(
      `${count(runtimeChanges, 'change')} at runtime since a configuration was applied; next: ${plan}`,
    );
  if (services.length === 0)
    lines.push(
      '',
      'There is no virtual service yet; next: headgate apply FILE, or headgate ipvsadm -A -t ADDRESS:PORT',
    );
  else lines.push('', servicesText(services).trimEnd());
  if (problems.length > 0)
    lines.push(
      '',
      'PROBLEMS',
      ...problems.flatMap(({ about, what, remedy }) => [`  ${about}: ${what}`, `    next: ${remedy}`]),
    );
  return `${lines.join('\n')}\n`;
}

/** One row a service. */
export function servicesText(services: readonly ServiceReport[]): string {
  const heads = ['NAME', 'ADDRESS', 'CONFIGURATION', 'TRAFFIC', 'USABLE', 'ACTIVE', 'INACT', 'CPS'];
  const rows = services.map(({ name, address, configuration, traffic, usable, realServers, ...numbers }) => [
    ...[name, address, configuration, traffic, `${usable}/${realServers.length}`],
    ...numbersOf(numbers),
  ]);
  return table([heads, ...rows], [4, 5, 6, 7]);
}

/** One row a real server, with the name of its service where there are several. */
export function realServersText(services: readonly ServiceReport[], isNamed: boolean): string {
  const shown = isNamed || services.length > 1;
  const heads = [
    ...(shown ? ['SERVICE'] : []),
    ...['NAME', 'ADDRESS', 'STATE', 'WEIGHT', 'ACTIVE', 'INACT', 'CPS', 'NOTE'],
  ];
  const rows = services.flatMap(({ name, realServers }) =>
    realServers.map((one) => [...(shown ? [name] : []), ...realServerRow(one)]),
  );
  const first = shown ? 4 : 3;
  return table([heads, ...rows], [first, first + 1, first + 2, first + 3]);
}

const realServerRow = ({
  name,
  address,
  state,
  weight,
  note = '',
  ...numbers
}: RealServerReport): string[] => [...[name, address, state, String(weight)], ...numbersOf(numbers), note];

type Numbers = Pick<ServiceReport, 'active' | 'inactive' | 'connectionsPerSecond'>;

const numbersOf = ({ active, inactive, connectionsPerSecond }: Numbers): string[] =>
  [active, inactive, connectionsPerSecond].map(String);

/** Columns two spaces apart; those of numbers at the right of their width. */
function table(rows: readonly (readonly string[])[], numeric: readonly number[]): string {
  return aligned(rows, new Set(numeric))
    .map((line) => `${line}\n`)
    .join('');
}

function aligned(rows: readonly (readonly string[])[], numeric: ReadonlySet<number> = new Set()): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const cell = (text: string, i: number) =>
    numeric.has(i) ? text.padStart(widths[i]!) : text.padEnd(widths[i]!);
  return rows.map((row) => row.map(cell).join('  ').trimEnd());
}
