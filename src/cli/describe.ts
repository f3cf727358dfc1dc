import type { Amounts, Description, RealServerDescription, ServiceDescription } from '../control/describe.ts';
import { problemsOf } from '../control/summary.ts';
import { count } from '../model/count.ts';
import type { Path } from '../model/outlook.ts';
import type { Destination, Timeouts, VirtualService, WhenGone } from '../model/virtual-service.ts';
import { whenGoneOf } from '../model/when-gone.ts';
import { aligned } from './columns.ts';
import type { Streams } from './context.ts';
import { realServersText } from './get.ts';
import { inspect } from './inspect.ts';
import { type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';
import { problemLines } from './status.ts';

/** `describe SERVICE|SERVICE/REALSERVER`. */
export async function describeObject(
  name: string,
  { output, file }: { readonly output: Output; readonly file?: string },
  streams: Streams,
): Promise<number> {
  const found = await inspect(file, {
    daemon: (daemon) => daemon.describe<readonly Description[]>(name),
    here: async (...found) => (await import('../control/describe.ts')).describe(...found, name),
  });
  await write(streams, output, found, () => found.map(descriptionText).join('\n'));
  return exitCodes.done;
}

/** Everything about one object for a person: rows of what it is, then its real servers, then what is wrong. */
function descriptionText(description: Description): string {
  const isService = description.kind === 'service';
  const rows = isService ? serviceRows(description) : realServerRows(description);
  const { differences, runtimeChanges, problems, file, ignored } = description;
  const parts = [
    `${description.about}  ${description.report.address}`,
    ...aligned([
      ...rows.map(
        ([name, text]): Row => [
          name,
          ignored.some((one) => one.startsWith(name)) ? `${text} (not acted on)` : text,
        ],
      ),
      ...trafficRows(description),
      ...listed('at runtime', runtimeChanges),
      ...listed(`next: headgate plan ${file}`, differences),
    ]).map((line) => `  ${line}`),
  ];
  if (isService && description.report.realServers.length > 0)
    parts.push('', realServersText([description.report], false).trimEnd());
  if (problems.length > 0) parts.push('', 'PROBLEMS', ...problemLines(problemsOf(problems, true)));
  return `${parts.join('\n')}\n`;
}

type Row = [string, string];

function serviceRows({ report, inForce, configured, timeouts, path }: ServiceDescription): Row[] {
  return [
    ['configuration', `${report.configuration}: ${report.configurationReason}`],
    ['traffic', `${report.traffic}: ${report.trafficReason}`],
    ...compared(inForce && serviceSettings(inForce), configured && serviceSettings(configured)),
    ['timeouts', timeoutsText(timeouts)],
    ...(path
      ? ([['virtual address', path.kind === 'local' ? 'on this host' : 'not on this host']] as Row[])
      : []),
  ];
}

function realServerRows(description: RealServerDescription): Row[] {
  const { service, report, inForce, configured, path, room, checks } = description;
  return [
    ['service', `${service.name} ${service.address}, ${service.traffic}: ${service.trafficReason}`],
    ['state', `${report.state}: ${report.reason}`],
    ...listed(checks.length > 1 ? 'checks' : 'check', checks.map(checkText)),
    ...(report.agent ? [agentRow(report.agent)] : []),
    ...compared(destinationSettings(inForce), configured && destinationSettings(configured)),
    ...(path ? pathRows(path, inForce, room) : []),
  ];
}

/** Which one it is, too, where that is not said: it was not run yet. */
const checkText = ({ type, says, last }: RealServerDescription['checks'][number]): string =>
  last ? says : `${type}: ${says}`;

function agentRow({
  factor,
  load,
  answered,
  failure,
}: NonNullable<RealServerDescription['report']['agent']>): Row {
  const loaded = load === undefined ? '' : `, load ${load.toFixed(2)}`;
  const last = answered === undefined ? 'no answer yet' : `last answer ${answered}`;
  return ['agent', `weight x ${factor}${loaded}, ${last}${failure === undefined ? '' : `; ${failure}`}`];
}

type Settings = Readonly<Record<string, string>>;

/** What is in force, and beside it what the configuration says where that is something else. */
function compared(inForce: Settings | undefined, configured: Settings | undefined): Row[] {
  return Object.keys(inForce ?? configured ?? {}).map((name) => {
    const [now, said] = [inForce?.[name], configured?.[name]];
    if (now === undefined) return [name, `${said} (not in force)`];
    return [name, said === undefined || said === now ? now : `${now} (the configuration says ${said})`];
  });
}

function serviceSettings(service: VirtualService): Settings {
  const { scheduler, schedulerFlags, persistence, onePacket } = service;
  const flags = Object.entries(schedulerFlags).flatMap(([name, on]) =>
    on ? [name.replace('flag', 'flag-')] : [],
  );
  return {
    scheduler: [scheduler, ...flags].join(', '),
    persistence: persistence ? persistenceText(persistence) : 'none',
    'one-packet': onePacket ? 'yes: every datagram is scheduled anew' : 'no',
    'when gone': whenGoneText[whenGoneOf(service)],
  };
}

const whenGoneText: Readonly<Record<WhenGone, string>> = {
  drop: 'drop: connections of a real server that is gone fall silent',
  keep: 'keep: connections of a real server that is gone go on to it',
  expire: 'expire: connections of a real server that is gone end with their next packet',
  reset: 'reset: connections of a real server that is gone end, and both ends are told',
};

function persistenceText({
  timeoutSeconds,
  netmask,
  engine,
}: NonNullable<VirtualService['persistence']>): string {
  const mask =
    netmask > 128
      ? [24, 16, 8, 0].map((shift) => (netmask >>> shift) & 255).join('.')
      : `prefix of ${netmask} bits`;
  return `${timeoutSeconds} s, by ${engine ?? 'client address'}, netmask ${mask}`;
}

function destinationSettings({
  method,
  tunnel,
  fullNat,
  weight,
  upperThreshold,
  lowerThreshold,
}: Destination): Settings {
  const upper = upperThreshold > 0 ? `overloaded from ${upperThreshold} connections` : 'never overloaded';
  const lower = lowerThreshold > 0 ? `, again ready below ${lowerThreshold}` : '';
  return {
    method: tunnel ? `${method} ${tunnel.type}${tunnel.port > 0 ? `, port ${tunnel.port}` : ''}` : method,
    ...(fullNat && {
      'local address': fullNat.localAddresses.join(', ') || 'the one its route prefers',
      'client address': fullNat.clientAddress,
    }),
    weight: String(weight),
    thresholds: `${upper}${upperThreshold > 0 ? lower : ''}`,
  };
}

const timeoutsText = ({ tcp, tcpFin, udp }: Timeouts): string =>
  `tcp ${tcp} s, tcpFin ${tcpFin} s, udp ${udp} s (of all services)`;

function pathRows(path: Path, { address }: Destination, room: number | undefined): Row[] {
  if (path.kind === 'local') return [['path', 'this host itself']];
  if (path.kind === 'none') return [['path', 'there is no route']];
  return [
    ['device', `${path.device}, MTU ${path.mtu}`],
    ['next hop', path.via === address ? 'the real server itself' : `the gateway ${path.via}`],
    ['MAC', path.mac ?? (path.silent ? 'nobody answers' : 'not asked for yet')],
    ...(room === undefined ? [] : ([['packets', `up to ${room} bytes`]] as Row[])),
  ];
}

const amountWords = [
  ['connections', 'connections'],
  ['packetsIn', 'packets in'],
  ['packetsOut', 'packets out'],
  ['bytesIn', 'bytes in'],
  ['bytesOut', 'bytes out'],
] as const satisfies readonly (readonly [keyof Amounts, string])[];

const amountsText = (amounts: Amounts): string =>
  amountWords.map(([key, words]) => `${words} ${amounts[key]}`).join(', ');

function trafficRows({ report, connections, counters, rates }: Description): Row[] {
  const states = Object.entries(connections.states).map(([state, number]) => `${number} ${state}`);
  return [
    [
      'connections',
      `${report.active} active, ${report.inactive} inactive${states.length > 0 ? `: ${states.join(', ')}` : ''}`,
    ],
    ...(connections.templates > 0
      ? ([['persistent', `${count(connections.templates, 'template')}: where clients come back to`]] as Row[])
      : []),
    ...(counters ? ([['counted', amountsText(counters)]] as Row[]) : []),
    ...(rates ? ([['a second', amountsText(rates)]] as Row[]) : []),
  ];
}

/** The first line has the label. */
const listed = (label: string, texts: readonly string[]): Row[] =>
  texts.map((text, i) => [i === 0 ? label : '', text]);
