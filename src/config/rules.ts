import { familyOf } from '../model/address.ts';
import type { Problem } from '../model/errors.ts';
import { placeOf, problemAt, type Span } from '../model/problem.ts';
import { destinationKey, serviceFamily, serviceKey } from '../model/service-id.ts';
import { suggest } from '../model/suggest.ts';
import type { ServiceEntry } from '../model/table.ts';
import { checkOperation } from '../model/validate.ts';
import { type ServiceId, translates } from '../model/virtual-service.ts';
import { problemsOfAlerts } from './alert-rules.ts';
import { entriesOf, serves, serviceIdsOf } from './desired.ts';
import { problemsOfFailover } from './failover-rules.ts';
import { spanAt } from './read-values.ts';
import type { Entry, Report } from './report.ts';
import type {
  AlertsConfiguration,
  FailoverConfiguration,
  ServiceConfiguration,
} from './schema/configuration.ts';
import { type MapNode, nodeAt, type Path, type TreeNode } from './tree.ts';

/** What a service wants for itself alone. Of one with mistakes: as much as can be told. */
export type Claim = Pick<ServiceConfiguration, 'address' | 'fwmark' | 'family'> & {
  readonly name?: string | undefined;
};

/** What is wrong with values that are right by themselves. Services that are `sound` are not judged again. */
export function problemsOfRules(
  parts: {
    services: readonly Entry<ServiceConfiguration>[];
    claims: readonly Entry<Claim>[];
    failover?: FailoverConfiguration;
    alerts?: AlertsConfiguration;
  },
  root: MapNode,
  sound?: WeakSet<ServiceConfiguration>,
): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (path, message, hint) => {
    problems.push(problemAt(spanAt(root, path), 'HG_CONFIG_CONFLICT', message, hint));
  };
  const where = (path: Path) => `${spanAt(root, path).source.name}:${lineAt(spanAt(root, path))}`;
  namesOnce(parts.claims, 'virtual service', report, where);
  addressesOnce(parts.claims, report, where);
  for (const { value: service, path } of parts.services) {
    if (sound?.has(service)) continue;
    const before = problems.length;
    judgeService(service, path, report, root);
    judgeRealServers(service, path, report);
    if (problems.length === before) judgeByModel(service, path, report);
    if (problems.length === before) sound?.add(service);
  }
  const serviceNames = parts.services.map(({ value }) => value.name);
  if (parts.failover) problemsOfFailover(parts.failover, serviceNames, report);
  if (parts.alerts) problemsOfAlerts(parts.alerts, serviceNames, report);
  return problems;
}

function lineAt({ source, start }: Span): number {
  return placeOf(source, start).line;
}

function namesOnce(
  entries: readonly Entry<{ readonly name?: string | undefined }>[],
  what: string,
  report: Report,
  where: (path: Path) => string,
): void {
  const taken = new Map<string, Path>();
  for (const { value, path } of entries) {
    if (value.name === undefined) continue;
    const before = taken.get(value.name);
    if (before) report([...path, 'name'], `${what} "${value.name}": that name is taken in ${where(before)}`);
    else taken.set(value.name, path);
  }
}

function addressesOnce(claims: readonly Entry<Claim>[], report: Report, where: (path: Path) => string): void {
  const taken = new Map<string, Entry<Claim>>();
  for (const claim of claims)
    for (const [i, id] of serviceIdsOf(claim.value).entries()) {
      const key = serviceKey(id);
      const at = id.kind === 'fwmark' ? [...claim.path, 'fwmark'] : [...claim.path, 'address', i];
      const before = taken.get(key);
      if (!before) taken.set(key, claim);
      else {
        const { name } = before.value;
        const who = name === undefined ? 'another virtual service' : `virtual service "${name}"`;
        report(at, `${key}: ${who} has it already, ${where(before.path)}`);
      }
    }
}

function judgeService(service: ServiceConfiguration, path: Path, report: Report, root: MapNode): void {
  const { address, fwmark, scheduler, persistence } = service;
  const ids = serviceIdsOf(service);
  const all = ids.map(serviceFamily);
  if ((address === undefined) === (fwmark === undefined)) {
    const wanted = `virtual service "${service.name}": wanted "address" or "fwmark"`;
    if (address !== undefined) report(path, `${wanted}, found both`, 'remove one of them');
    else if (!isNearly(['address', 'fwmark'], nodeAt(root, path)))
      report(path, `${wanted}, found neither`, 'add "address: 192.0.2.10:80", with its own address');
    return;
  }
  if (fwmark === undefined && service.family !== 'ipv4')
    report([...path, 'family'], '"family": wanted only with "fwmark"; an address says its family itself');
  for (const [i, id] of ids.entries())
    if (id.kind === 'address' && id.port === 0 && persistence === undefined)
      report(
        [...path, 'address', i],
        `virtual service "${service.name}": every port needs persistence, found none`,
        'add "persistence: 5m", or name the port',
      );
  if (service.onePacket && ids.some((id) => id.kind === 'address' && id.protocol !== 'udp'))
    report([...path, 'onePacket'], '"onePacket": wanted udp, found an address of another protocol');
  const special = service.schedulerFlags.find((flag) => flag === 'fallback' || flag === 'port');
  if (special !== undefined && scheduler !== 'sh' && scheduler !== 'mh')
    report([...path, 'schedulerFlags'], `flag "${special}": wanted scheduler sh or mh, found ${scheduler}`);
  if (persistence?.engine === 'sip' && ids.some((id) => id.kind === 'address' && id.protocol !== 'udp'))
    report(
      [...path, 'persistence', 'engine'],
      'engine "sip": wanted udp, found an address of another protocol',
    );
  if (persistence !== undefined && persistence.netmask !== 32 && !all.includes(4))
    report(
      [...path, 'persistence', 'netmask'],
      '"netmask": wanted an IPv4 address, found only IPv6',
      'write "netmask6"',
    );
  if (persistence !== undefined && persistence.netmask6 !== 128 && !all.includes(6))
    report(
      [...path, 'persistence', 'netmask6'],
      '"netmask6": wanted an IPv6 address, found only IPv4',
      'write "netmask"',
    );
  if (service.hysteresis >= service.quorum && service.hysteresis > 0)
    report(
      [...path, 'hysteresis'],
      `"hysteresis": wanted less than the quorum, ${service.quorum}, found ${service.hysteresis}`,
    );
}

function judgeRealServers(service: ServiceConfiguration, path: Path, report: Report): void {
  const members = service.realServers.map((value, i) => ({ value, path: [...path, 'realServers', i] }));
  namesOnce(members, 'real server', report, () => `virtual service "${service.name}"`);
  const ids = serviceIdsOf(service);
  const taken = new Set<string>();
  for (const { value: realServer, path: at } of members) {
    const port = realServer.address.port ?? 0;
    const where = destinationKey({ address: realServer.address.address, port });
    const shown = port === 0 ? realServer.address.address : where;
    if (taken.has(where))
      report([...at, 'address'], `real server ${shown}: named twice in "${service.name}"`);
    taken.add(where);
    if (realServer.lowerThreshold > realServer.upperThreshold)
      report(
        [...at, 'lowerThreshold'],
        `"lowerThreshold": wanted at most the upper threshold, ${realServer.upperThreshold}, found ${realServer.lowerThreshold}`,
      );
    judgeMember(service, ids, realServer, at, `real server ${shown}`, report);
  }
  judgeCheckPorts(service, path, report);
  judgeAgents(service, path, report);
  if (service.sorryServer)
    judgeMember(service, ids, service.sorryServer, [...path, 'sorryServer'], 'sorry server', report);
  if (service.tunnel) judgeTunnel(service.tunnel, [...path, 'tunnel'], report);
}

/** Checks that ask a port; of the others there is none to name. */
const portless = ['ping', 'file', 'script'];

/** Whether one of these keys is there, misspelt, which was told. */
const isNearly = (keys: readonly string[], node: TreeNode | undefined): boolean =>
  node?.kind === 'map' && [...node.members.keys()].some((key) => suggest(key, keys) !== undefined);

/** Where neither real server nor service has a port, a check has to name one. */
function judgeCheckPorts(service: ServiceConfiguration, path: Path, report: Report): void {
  if (serviceIdsOf(service).some((id) => id.kind === 'address' && id.port !== 0)) return;
  for (const [i, { address, check: own }] of service.realServers.entries()) {
    const checks = own ?? service.check;
    if (address.port !== undefined || checks === undefined || checks === 'none') continue;
    const found = checks.find(
      (one) => !portless.includes(one.type) && (one as { port?: number }).port === undefined,
    );
    if (!found) continue;
    report(
      [...path, ...(own === undefined ? ['check'] : ['realServers', i, 'check'])],
      `check ${found.type}: wanted the key "port", as neither the real server nor the service has one`,
      'add "port: 80" to the check',
    );
    if (own === undefined) return;
  }
}

/** Schedulers that share by weight; with the others it is nothing, a rank or a limit. */
const sharing = ['wrr', 'wlc', 'lblc', 'lblcr', 'sed', 'nq', 'sh', 'mh', 'twos'];
/** Below this a weight has too few steps to go by. */
const leastWeight = 10;

/** Weights from load need a scheduler that shares by weight, and weights that can be made smaller. */
function judgeAgents(service: ServiceConfiguration, path: Path, report: Report): void {
  const { scheduler, realServers, agent: common } = service;
  for (const [i, { agent: own, weight }] of realServers.entries()) {
    const agent = own ?? common;
    if (agent === undefined || agent === 'none' || agent.weights !== 'load') continue;
    const at = own === undefined ? [...path, 'agent'] : [...path, 'realServers', i, 'agent'];
    if (!sharing.includes(scheduler)) {
      report(
        [...at, 'weights'],
        `weights from load: wanted a scheduler that shares by weight, found ${scheduler}`,
        'use scheduler wlc or wrr, or "weights: said"',
      );
      return;
    }
    if (weight > 0 && weight < leastWeight)
      report(
        [...path, 'realServers', i, 'weight'],
        `weights from load: wanted a weight of ${leastWeight} or more, found ${weight}`,
        'add "weight: 100" to each real server',
      );
  }
}

/** What holds for real servers and the sorry server alike: family, port, tunnel. */
function judgeMember(
  service: ServiceConfiguration,
  all: readonly ServiceId[],
  member: NonNullable<ServiceConfiguration['sorryServer']>,
  path: Path,
  what: string,
  report: Report,
): void {
  const method = member.method ?? service.method;
  const ids = all.filter((id) => serves(member, service, id));
  if (ids.length === 0 && (service.address ?? service.fwmark) !== undefined) {
    const family = familyOf(member.address.address);
    report(
      [...path, 'address'],
      `${what}: wanted the family of an address of "${service.name}", found IPv${family}; only method tunnel can cross it`,
    );
  }
  const { port } = member.address;
  const other = ids.find((id) => id.kind === 'address' && port !== undefined && id.port !== port);
  if (!translates(method) && other?.kind === 'address')
    report(
      [...path, 'address'],
      `${what}: ${method} cannot change the port, wanted ${other.port === 0 ? 'none' : other.port}, found ${port}`,
      'leave the port out, or use method masquerade or full-nat',
    );
  if (member.tunnel && method !== 'tunnel')
    report([...path, 'tunnel'], `${what}: "tunnel" wants method tunnel, found ${method}`);
  if (member.tunnel) judgeTunnel(member.tunnel, [...path, 'tunnel'], report);
  if (member.fullNat && method !== 'full-nat')
    report([...path, 'fullNat'], `${what}: "fullNat" wants method full-nat, found ${method}`);
}

function judgeTunnel(tunnel: NonNullable<ServiceConfiguration['tunnel']>, path: Path, report: Report): void {
  if (tunnel.type === 'gue' && tunnel.port === undefined)
    report(path, 'tunnel gue: wanted the key "port", found none', 'add "port: 6080"');
  if (tunnel.type !== 'gue' && tunnel.port !== undefined)
    report([...path, 'port'], `tunnel ${tunnel.type}: wanted no port, found ${tunnel.port}`);
}

/** The last word is the model's: what a data plane would refuse is no configuration. */
function judgeByModel(service: ServiceConfiguration, path: Path, report: Report): void {
  for (const entry of entriesOf(service)) {
    const refused = checkOperation({ kind: 'add-service', service: entry.service }, { services: [] });
    if (refused) report(path, `virtual service "${service.name}": ${refused.detail}`);
    const alone: ServiceEntry = { service: entry.service, destinations: [] };
    for (const destination of entry.destinations) {
      const operation = { kind: 'add-destination', id: entry.service.id, destination } as const;
      const refusal = checkOperation(operation, { services: [alone] });
      if (!refusal) continue;
      const i = service.realServers.findIndex(({ address }) => address.address === destination.address);
      report(
        [...path, 'realServers', i, 'address'],
        `real server ${destinationKey(destination)}: ${refusal.detail}`,
      );
    }
  }
}
