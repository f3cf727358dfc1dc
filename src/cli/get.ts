import { namedServices, ownersAmong } from '../control/named.ts';
import type { RealServerReport } from '../control/real-server-report.ts';
import type { ServiceReport, StatusReport } from '../control/status.ts';
import { rowOf, type ServiceRow } from '../control/summary.ts';
import { inBatchesOf } from '../model/connection-batches.ts';
import { HeadgateError } from '../model/errors.ts';
import { destinationKey } from '../model/service-id.ts';
import { span } from '../model/span.ts';
import { suggest } from '../model/suggest.ts';
import type { Connection } from '../model/table.ts';
import { table, tableInPieces } from './columns.ts';
import { connect } from './connect.ts';
import type { Streams } from './context.ts';
import { look } from './inspect.ts';
import { listWriterOf, type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';

export type GetOptions = { readonly output: Output; readonly file?: string };

const kinds = ['services', 'real-servers', 'connections'] as const;
type Kind = (typeof kinds)[number];

/** `get services|real-servers|connections [SERVICE]`. */
export async function getTable(
  word: string,
  wanted: string | undefined,
  { output, file }: GetOptions,
  streams: Streams,
): Promise<number> {
  const kind = kindOf(word);
  const report = await look(file);
  warnOfFile(report, streams);
  const services = wanted === undefined ? report.services : namedServices(report.services, wanted);
  if (kind === 'connections') {
    const writer = await listWriterOf(streams, output, connectionsText());
    await eachConnections((batch) =>
      writer.add(ownedConnections(batch, report.services, services, wanted === undefined)),
    );
    writer.end();
    return exitCodes.done;
  }
  if (kind === 'services') {
    const rows = services.map(rowOf);
    await write(streams, output, rows, () => servicesText(rows));
  } else
    await write(streams, output, realServerRows(services), () =>
      realServersText(services, wanted === undefined),
    );
  return exitCodes.done;
}

function kindOf(word: string): Kind {
  const kind = kinds.find((one) => one === word);
  if (kind) return kind;
  const near = suggest(word, kinds);
  throw new HeadgateError('HG_USAGE', `Cannot get "${word}": wanted services, real-servers or connections`, {
    hint: near === undefined ? 'headgate get --help' : `headgate get ${near}`,
  });
}

/** What is sorted and aligned together; of tables that have more, no more is held than this. */
const atOnce = 16_384;

async function eachConnections(take: (batch: readonly Connection[]) => void): Promise<void> {
  const controller = await connect();
  try {
    for await (const batch of inBatchesOf(atOnce, controller.connections())) take(batch);
  } finally {
    await controller.close();
  }
}

function warnOfFile({ configuration: { file }, problems }: StatusReport, { stderr }: Streams): void {
  for (const { what, remedy } of problems.filter(({ about }) => about.includes(file)))
    stderr.write(`headgate: "${file}": ${what}\n  next: ${remedy}\n`);
}

const realServerRows = (services: readonly ServiceReport[]) =>
  services.flatMap(({ name, realServers }) => realServers.map((one) => ({ service: name, ...one })));

/** One row a service. */
export function servicesText(services: readonly ServiceRow[]): string {
  const heads = [
    ...(['NAME', 'ADDRESS', 'CONFIGURATION', 'TRAFFIC', 'USABLE', 'ACTIVE', 'INACT', 'CPS'] as const),
    'REASON' as const,
  ];
  const rows = services.map((one) => [
    ...[one.name, one.address, one.configuration, one.traffic],
    ...[`${one.usable}/${one.realServers}`, ...numbersOf(one), reasonOf(one)],
  ]);
  return table(heads, rows, 'USABLE', 'ACTIVE', 'INACT', 'CPS');
}

/** Why a service stands as it does; what is as it should be goes without saying. */
const reasonOf = ({ traffic, trafficReason, health, configuration, configurationReason }: ServiceRow) =>
  [
    ...(traffic === 'carrying' && health === 'ok' ? [] : [trafficReason]),
    ...(configuration === 'differs' || configuration === 'changed' ? [configurationReason] : []),
  ].join('; ');

/** One row a real server, with the name of its service where there may be several. */
export function realServersText(services: readonly ServiceReport[], isNamed: boolean): string {
  const shown = isNamed || services.length > 1;
  const isChecked = services.some(({ realServers }) => realServers.some(({ check }) => check));
  const heads = [
    ...(shown ? (['SERVICE'] as const) : []),
    ...(['NAME', 'ADDRESS', 'STATE', 'WEIGHT', 'ACTIVE', 'INACT', 'CPS', 'REASON'] as const),
    ...(isChecked ? (['CHECK'] as const) : []),
  ];
  const rows = services.flatMap(({ name, realServers }) =>
    realServers.map((one) => [
      ...(shown ? [name] : []),
      ...realServerRow(one),
      ...(isChecked ? [one.check?.word ?? '-'] : []),
    ]),
  );
  return table(heads, rows, 'WEIGHT', 'ACTIVE', 'INACT', 'CPS');
}

const realServerRow = (one: RealServerReport): string[] => [
  ...[one.name, one.address, one.state, String(one.weight)],
  ...[...numbersOf(one), one.reason],
];

type Numbers = Pick<ServiceRow, 'active' | 'inactive' | 'connectionsPerSecond'>;

const numbersOf = ({ active, inactive, connectionsPerSecond }: Numbers): string[] =>
  [active, inactive, connectionsPerSecond].map(String);

/** A connection with whom it belongs to, by name. */
export type ConnectionRow = Connection & {
  /** Absent where nobody has it any more. */
  readonly service?: string;
  /** Absent where it is no longer in the service. */
  readonly realServer?: string;
};

/** The connections of the services that are shown, sorted by service; all of them where none is named. */
export function ownedConnections(
  connections: readonly Connection[],
  all: readonly ServiceReport[],
  shown: readonly ServiceReport[],
  isAll: boolean,
): readonly ConnectionRow[] {
  const ownerOf = ownersAmong(all);
  const names = new Set(shown.map(({ address }) => address));
  const rows = connections.flatMap((row): ConnectionRow[] => {
    const owner = ownerOf(row);
    if (!isAll && !(owner && names.has(owner.service.address))) return [];
    const realServer =
      owner?.realServer === undefined ? undefined : owner.service.realServers[owner.realServer]!.name;
    return [
      {
        ...(owner && { service: owner.service.name }),
        ...(realServer !== undefined && { realServer }),
        ...row,
      },
    ];
  });
  const groups = new Map<string, ConnectionRow[]>();
  for (const row of rows) {
    const name = `${row.service ?? ''} ${row.realServer ?? ''}`;
    const group = groups.get(name);
    if (group) group.push(row);
    else groups.set(name, [row]);
  }
  return [...groups.keys()].sort().flatMap((name) => groups.get(name)!);
}

/** One row a connection, batch by batch. */
export function connectionsText(): (rows: readonly ConnectionRow[]) => string {
  const add = tableInPieces(
    ['SERVICE', 'REAL SERVER', 'PROTOCOL', 'CLIENT', 'VIRTUAL', 'STATE', 'EXPIRES'],
    'EXPIRES',
  );
  return (rows) => add(rows.map(cellsOf));
}

const cellsOf = (row: ConnectionRow): string[] => [
  row.service ?? '-',
  row.realServer ?? `${destinationKey(row.destination)} (gone)`,
  row.protocol,
  destinationKey(row.client),
  destinationKey(row.virtual),
  row.template ? 'template' : row.state,
  span(row.expiresInMs),
];
