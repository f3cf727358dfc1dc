import type { Span } from '../../../model/problem.ts';
import type { ForwardingMethod } from '../../../model/virtual-service.ts';
import { formatDurationMs } from '../../quantities.ts';
import { parseMask } from '../../schema/addresses.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import type { Tell } from '../adapter.ts';
import { listAt, mapAt, scalarAt } from '../build-tree.ts';
import { nameOfService } from '../service-names.ts';
import { type CheckPlan, planCheck } from './check.ts';
import type { DirectiveName, Settings } from './directives.ts';
import { type Entries, type Findings, use } from './findings.ts';
import { type Fallback, forwardedPort, type Real, type Service } from './service.ts';

export const methods = {
  gate: 'direct-routing',
  masq: 'masquerade',
  ipip: 'tunnel',
} as const satisfies Record<string, ForwardingMethod>;

/** What holds for all virtual services of a file. */
export type WholeFile = {
  readonly settings: Settings;
  /** The fallback for services that have none; ports differ by protocol where they are names. */
  readonly fallbackFor: (service: Service) => Fallback | undefined;
};

const longestPersistenceSeconds = 31 * 86_400;
const greatestWeight = 65_535;
const greatestThreshold = 2 ** 31 - 1;

/** A virtual service as headgate.yaml describes it, and the real servers with the lines they come from. */
export function serviceTree(
  service: Service,
  whole: WholeFile,
  tell: Tell,
): { node: MapNode; realNodes: ReadonlyMap<Real, MapNode> } {
  const { id, head, settings } = service;
  const { span } = head;
  const findings: Findings = { tell, used: new Set() };
  const plan = planCheck(service, whole.settings, findings);
  const reals = distinct(service, tell);
  const method = mostFrequent(reals);
  const common = commonCheck(plan, reals);
  const realNodes = new Map(
    reals.map((real) => [real, realNode(real, service, method, plan, common, whole.settings, tell)] as const),
  );
  const node = mapAt(span, {
    name: nameOf(service),
    address: 'mark' in id ? undefined : scalarAt(head.value?.span ?? span, addressText(service)),
    fwmark: 'mark' in id ? scalarAt(head.value?.span ?? span, id.mark) : undefined,
    family: 'mark' in id && service.family === 6 ? 'ipv6' : undefined,
    scheduler: text(use(service, 'scheduler', findings)) ?? 'wrr',
    schedulerFlags: flagsNode(service, findings),
    method: method === 'direct-routing' ? undefined : method,
    persistence: persistenceNode(service, findings),
    onePacket: onePacketNode(service, findings),
    check: checkNode(common, marks(undefined, service, whole.settings), span),
    realServers: realNodes.size === 0 ? undefined : listAt(span, [...realNodes.values()]),
    sorryServer: plan.state === 'off' ? undefined : sorryNode(service, whole, method, tell),
    checkLog: checkLogOf(service, tell),
    onQuorumUp: fallbackCommand('stop', service, whole),
    onQuorumDown: fallbackCommand('start', service, whole),
  });
  tellUnused(settings, findings, tell);
  return { node, realNodes };
}

const text = (found: ReturnType<typeof use>): TreeNode | undefined =>
  found && scalarAt(found.span, found.text);

/** The name a virtual service is given; two services have two. */
export function nameOf({ id, protocol, family }: Service): string {
  if ('mark' in id) return nameOfService({ kind: 'fwmark', mark: id.mark, family });
  return nameOfService({ kind: 'address', ...id, protocol: protocol === 'udp' ? 'udp' : 'tcp' });
}

const hostText = (address: string): string => (address.includes(':') ? `[${address}]` : address);

function addressText({ id, protocol }: Service): string {
  if ('mark' in id) return '';
  return `${hostText(id.address)}:${id.port === 0 ? '*' : id.port}${protocol === 'udp' ? '/udp' : ''}`;
}

/** Real servers as they are in the data plane, each once: of two lines for one the first counts. */
function distinct(service: Service, tell: Tell): readonly Real[] {
  const kept = new Map<string, Real>();
  for (const real of service.reals) {
    const key = `${real.address} ${forwardedPort(service, real)}`;
    if (kept.has(key)) tell('ignored', real.line.span, `real server ${real.address} is there already`);
    else kept.set(key, real);
  }
  return [...kept.values()];
}

/** The method most real servers have; of equals the one that comes first. */
function mostFrequent(reals: readonly Real[]): ForwardingMethod {
  const counts = new Map<ForwardingMethod, number>();
  for (const { places } of reals) {
    const method = methods[places.method];
    counts.set(method, (counts.get(method) ?? 0) + 1);
  }
  const [first] = [...counts].sort(([, a], [, b]) => b - a);
  return first?.[0] ?? 'direct-routing';
}

const sameCheck = (a: Entries | undefined, b: Entries | undefined): boolean => keyOf(a) === keyOf(b);
const keyOf = (entries: Entries | undefined): string =>
  JSON.stringify(entries, (key, value) => (key === 'span' ? undefined : value)) ?? '';

/** The check of a service: that of the first real server which has nothing of its own, or of all. */
function commonCheck(plan: CheckPlan, reals: readonly Real[]): Entries | undefined {
  const first = reals.find(({ places }) => places.request === undefined);
  return plan.of(first ?? reals[0]);
}

function realNode(
  real: Real,
  service: Service,
  method: ForwardingMethod,
  plan: CheckPlan,
  common: Entries | undefined,
  all: Settings,
  tell: Tell,
): MapNode {
  const { places, line, address } = real;
  const { span } = line;
  const at = line.value?.span ?? span;
  const port = forwardedPort(service, real);
  const servicePort = 'mark' in service.id ? 0 : service.id.port;
  if (real.port !== 0 && port !== real.port)
    tell('changed', span, `port ${real.port} is ${port}: only masq can change the port`);
  const own = plan.of(real);
  const [usual, marked] = [marks(undefined, service, all), marks(real, service, all)];
  const isUsual = sameCheck(own, common) && usual.length === marked.length;
  return mapAt(span, {
    address: scalarAt(at, port === servicePort ? address : `${hostText(address)}:${port}`),
    weight: weightOf(real, plan, tell),
    method: methods[places.method] === method ? undefined : methods[places.method],
    upperThreshold: thresholdOf(places.upper, real, tell),
    lowerThreshold:
      places.upper === undefined ? lowerAlone(real, tell) : thresholdOf(places.lower, real, tell),
    check: isUsual ? undefined : (checkNode(own, marked, span) ?? 'none'),
  });
}

/** A check, with the files that take a real server out; undefined where there is neither. */
function checkNode(
  entries: Entries | undefined,
  files: readonly Entries[],
  span: Span,
): TreeNode | undefined {
  if (files.length === 0) return entries && mapAt(span, entries);
  return listAt(
    span,
    [...(entries ? [entries] : []), ...files].map((one) => mapAt(span, one)),
  );
}

/** Hosts are known by their address, by the name that the line of the real server has, and by its first label. */
function marks(real: Real | undefined, service: Service, { given }: Settings): readonly Entries[] {
  const folder = given.get('maintenancedir');
  if (!folder) return [];
  const written = real?.places.last === undefined ? (real?.places.first ?? '') : '';
  const name = /[A-Za-z]/.test(written) && !written.includes(':') ? written : undefined;
  const label = name?.includes('.') ? name.split('.')[0] : undefined;
  const hosts = [
    service.family === 6 ? '[{address}]' : '{address}',
    ...(name ? [name] : []),
    ...(label ? [label] : []),
  ];
  const { span } = folder.line;
  const quiescent = service.settings.given.get('quiescent') ?? given.get('quiescent');
  const interval = given.get('checkinterval');
  return hosts
    .flatMap((host) => [`${host}:{port}`, host])
    .map((file) => ({
      type: scalarAt(span, 'file'),
      path: scalarAt(span, `${folder.text.replace(/\/+$/, '')}/${file}`),
      mustNotExist: scalarAt(span, true),
      ...(interval && {
        interval: scalarAt(
          interval.line.span,
          formatDurationMs(Math.min(Number(interval.text), 86_400) * 1000),
        ),
      }),
      fall: scalarAt(span, 1),
      warmup: scalarAt(span, '0s'),
      ...(quiescent?.text === 'yes' && { whenDown: scalarAt(quiescent.line.span, 'quiesce') }),
    }));
}

function weightOf({ places, line }: Real, { state }: CheckPlan, tell: Tell): number | undefined {
  if (state === 'off') return 0;
  const weight = Number(places.weight ?? 1);
  if (weight > greatestWeight)
    tell('changed', line.span, `weight ${weight} is ${greatestWeight}, the greatest`);
  return weight === 1 ? undefined : Math.min(weight, greatestWeight);
}

function thresholdOf(asked: string | undefined, { line }: Real, tell: Tell): number | undefined {
  const threshold = Number(asked ?? 0);
  if (threshold > greatestThreshold)
    tell('changed', line.span, `threshold ${threshold} is ${greatestThreshold}, the greatest`);
  return threshold === 0 ? undefined : Math.min(threshold, greatestThreshold);
}

function lowerAlone({ places, line }: Real, tell: Tell): undefined {
  if (Number(places.lower ?? 0) > 0)
    tell('changed', line.span, 'the lower threshold is left out: it has no effect without an upper one');
}

function flagsNode(service: Service, findings: Findings): TreeNode | undefined {
  const flags = use(service, 'schedflags', findings);
  if (!flags) return undefined;
  const words = flags.text.split(',').filter((word) => word !== '');
  return listAt(
    flags.span,
    // sh-port and mh-port are one flag: which of the two is said by the scheduler.
    words.map((word) => scalarAt(flags.span, word.replace(/^(?:sh|mh)-/, ''))),
  );
}

function persistenceNode(service: Service, findings: Findings): TreeNode | undefined {
  const timeout = use(service, 'persistent', findings);
  const netmask = service.settings.given.get('netmask');
  if (!timeout) return undefined;
  const seconds = Math.min(Number(timeout.text), longestPersistenceSeconds);
  if (seconds < Number(timeout.text))
    findings.tell(
      'changed',
      timeout.span,
      `${timeout.text} s are ${longestPersistenceSeconds} s, the longest`,
    );
  const duration = scalarAt(timeout.span, formatDurationMs(seconds * 1000));
  if (!netmask) return duration;
  findings.used.add('netmask');
  const at = netmask.line.value?.span ?? netmask.line.span;
  if (service.family === 6)
    return Number(netmask.text) === 128
      ? duration
      : mapAt(timeout.span, { timeout: duration, netmask6: scalarAt(at, Number(netmask.text)) });
  if (parseMask(netmask.text) === 32) return duration;
  return mapAt(timeout.span, {
    timeout: duration,
    netmask: scalarAt(at, parseMask(netmask.text) ?? netmask.text),
  });
}

function onePacketNode(service: Service, findings: Findings): TreeNode | undefined {
  const found = use(service, 'ops', findings);
  if (found?.text !== 'yes') return undefined;
  if (service.protocol === 'udp') return scalarAt(found.span, true);
  findings.tell('changed', found.span, 'it has no effect without "protocol = udp"');
  return undefined;
}

function sorryNode(
  service: Service,
  { fallbackFor }: WholeFile,
  method: ForwardingMethod,
  tell: Tell,
): MapNode | undefined {
  const fallback = service.fallback ?? fallbackFor(service);
  if (!fallback) return undefined;
  const { line, address, port } = fallback;
  const servicePort = 'mark' in service.id ? undefined : service.id.port;
  const keepsPort = fallback.method === 'masq' || servicePort === undefined;
  if (!keepsPort && port !== undefined && port !== servicePort)
    tell(
      'changed',
      line.span,
      `port ${port} is ${servicePort} with "${nameOf(service)}": only masq can change it`,
    );
  const shown = keepsPort && port !== undefined && port !== servicePort ? port : undefined;
  const span = line.value?.span ?? line.span;
  return mapAt(span, {
    address: shown === undefined ? address : `${hostText(address)}:${shown}`,
    method: methods[fallback.method] === method ? undefined : methods[fallback.method],
  });
}

/** What `fallbackcommand` is given: `start` or `stop`, the virtual address and the protocol; a shell reads it. */
function fallbackCommand(
  word: string,
  { id, protocol, settings }: Service,
  whole: WholeFile,
): TreeNode | undefined {
  const found = settings.given.get('fallbackcommand') ?? whole.settings.given.get('fallbackcommand');
  if (!found) return undefined;
  const { span } = found.line;
  const where = 'mark' in id ? `${id.mark}` : `${hostText(id.address)}:${id.port}`;
  const words = ['/bin/sh', '-c', `${found.text} ${word} ${where} ${protocol}`];
  return listAt(
    span,
    words.map((one) => scalarAt(span, one)),
  );
}

/** The file `monitorfile` names; ldirectord works in the root folder. */
function checkLogOf({ settings }: Service, tell: Tell): TreeNode | undefined {
  const found = settings.given.get('monitorfile');
  if (!found) return undefined;
  const { line, text: path } = found;
  if (path === '') {
    tell('changed', line.span, 'there is no file without a name');
    return undefined;
  }
  tell('changed', line.span, 'of what is checked it has type, protocol, address and port');
  return scalarAt(line.value?.span ?? line.span, path.startsWith('/') ? path : `/${path}`);
}

/** Directives about checks that this kind of check does not look at. */
const ofChecks: readonly DirectiveName[] = [
  ...(['request', 'receive', 'httpmethod', 'virtualhost', 'login', 'passwd', 'database', 'secret'] as const),
  ...(['checkcommand', 'checkport'] as const),
];

function tellUnused({ given }: Settings, { used }: Findings, tell: Tell): void {
  for (const name of ofChecks) {
    const found = given.get(name);
    if (found && !used.has(name)) tell('changed', found.line.span, 'it has no effect on this kind of check');
  }
  const netmask = given.get('netmask');
  if (netmask && !used.has('netmask'))
    tell('changed', netmask.line.span, 'it has no effect without "persistent"');
}
