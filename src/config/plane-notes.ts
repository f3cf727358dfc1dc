import { familyOf } from '../model/address.ts';
import { placeOf } from '../model/problem.ts';
import { serviceFamily } from '../model/service-id.ts';
import type { Note } from './adapters/adapter.ts';
import { entriesOf } from './desired.ts';
import { spanAt } from './read-values.ts';
import type { Configuration } from './schema/configuration.ts';
import { type MapNode, nodeAt, type Path } from './tree.ts';

/**
 * What of a configuration the data plane it asks for does not do, each said once where it is first written. Only of `ipvs`: on
 * `auto` nobody knows before it runs. Pure.
 */
export function notesOfPlane(configuration: Configuration, root: MapNode): Note[] {
  if (configuration.dataPlane !== 'ipvs') return [];
  const notes: Note[] = [];
  const say = (path: Path, reason: string): void => {
    const { source, start } = spanAt(root, path);
    notes.push({ kind: 'ignored', file: source.name, line: placeOf(source, start).line, reason });
  };
  const own: Path = ['dataPlane'];
  const written = (paths: readonly Path[]): Path => paths.find((path) => nodeAt(root, path)) ?? own;
  const services = configuration.virtualServices.map((service, i) => ({
    service,
    path: ['virtualServices', i] as Path,
  }));

  for (const [word, remedy] of whenGoneRemedies) {
    const having = services.filter(({ service }) => service.whenGone === word);
    if (having.length === 0) continue;
    const whom =
      having.length === 1 ? `"${having[0]!.service.name}" has` : `${having.length} virtual services have`;
    say(
      written(having.map(({ path }) => [...path, 'whenGone'])),
      `whenGone: ${word}, as ${whom} it: IPVS has one rule for all of them, and drops; ${remedy}`,
    );
  }
  if (configuration.connectionTable !== undefined)
    say(
      ['connectionTable'],
      'the table of IPVS has no limit: its number of buckets is a parameter of its module',
    );
  for (const { service, path } of services)
    if (service.check?.some(({ type }) => type === 'passive'))
      say(
        [...path, 'check'],
        'IPVS does not say what becomes of connections: a passive check finds nothing bad',
      );
  const full = services.flatMap(({ service, path }) => [
    ...(service.method === 'full-nat' ? [path] : []),
    ...service.realServers.flatMap(({ method }, i): Path[] =>
      method === 'full-nat' ? [[...path, 'realServers', i]] : [],
    ),
  ]);
  if (full.length > 0)
    say(
      written(full.map((path) => [...path, 'method'])),
      'IPVS has no full NAT: it refuses real servers of this method; take another one, or dataPlane: ebpf',
    );
  const sync = configuration.failover?.connectionSync;
  if (!sync) return notes;
  for (const [name, reason] of syncReasons)
    if (sync[name] !== undefined) say(['failover', 'connectionSync', name], reason);
  if (services.some(({ service }) => hasOtherFamily(service)))
    say(
      ['failover', 'connectionSync'],
      "IPVS's sync daemon does not run beside a real server of another address family than its service",
    );
  return notes;
}

const whenGoneRemedies = [
  ['expire', 'sysctl -w net.ipv4.vs.expire_nodest_conn=1 makes it so for all'],
  ['keep', 'dataPlane: ebpf'],
  ['reset', 'dataPlane: ebpf'],
] as const;

const noSecret =
  "IPVS's sync daemon sends in clear and listens to everybody, so none is started with a key; leave it out, or dataPlane: ebpf";
const syncReasons = [
  ['key', noSecret],
  ['keyFile', noSecret],
  [
    'threshold',
    'IPVS has one threshold and period for its sync daemons, net.ipv4.vs.sync_threshold, so none is started with another; leave it out, or dataPlane: ebpf',
  ],
  [
    'refresh',
    'IPVS has one refresh for its sync daemons, net.ipv4.vs.sync_refresh_period, so none is started with another; leave it out, or dataPlane: ebpf',
  ],
] as const;

function hasOtherFamily(service: Configuration['virtualServices'][number]): boolean {
  return entriesOf(service).some(({ service: { id }, destinations }) =>
    destinations.some(({ address }) => familyOf(address) !== serviceFamily(id)),
  );
}
