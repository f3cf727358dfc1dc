import { familyOf } from '../../../model/address.ts';
import type { Span } from '../../../model/problem.ts';
import { serviceKey } from '../../../model/service-id.ts';
import type { FwmarkServiceId, ServiceId, Tunnel } from '../../../model/virtual-service.ts';
import { formatDurationMs } from '../../quantities.ts';
import { type MapNode, plain, type TreeNode } from '../../tree.ts';
import { nameOfService } from '../service-names.ts';
import { type Endpoint, hostText } from './addresses.ts';
import type { CheckerContext } from './checker-context.ts';
import { checkNodes } from './checkers.ts';
import { nameForm } from './names.ts';
import type { SoundRealServer, SoundService } from './repairs.ts';
import { listAt, mapAt, scalarAt } from './scope.ts';
import type { Forwarding } from './service-draft.ts';

export type TreeContext = Omit<
  CheckerContext,
  'timings' | 'virtualHost' | 'port' | 'checkPort' | 'needsPort' | 'weight'
> & {
  /** What services are in the data plane by now, and the names they have. */
  readonly taken: Set<string>;
  readonly usedNames: Set<string>;
};

/** The virtual services a virtual server is: one for all its addresses, one for each mark. */
export function serviceNodes(service: SoundService, context: TreeContext): MapNode[] {
  const asked: Asked = new Map(service.realServers.map((one) => [one, checksOf(one, service, context)]));
  const { value: protocol } = service.protocol;
  const addresses = service.addresses.filter(({ address, port, span }) =>
    isNew({ kind: 'address', address, port, protocol }, span, context),
  );
  const nodes: MapNode[] = [];
  const [first] = addresses;
  if (first) {
    const list = addresses.map((one) => scalarAt(one.span, addressText(one, protocol)));
    const id: ServiceId = { kind: 'address', address: first.address, port: first.port, protocol };
    const name = nameFor(service, id, context);
    const address = list.length === 1 ? list[0] : listAt(first.span, list);
    const port = addresses.every((one) => one.port === first.port) ? first.port : undefined;
    const families = new Set(addresses.map((one) => familyOf(one.address)));
    const checks = sensible(asked, service, context);
    nodes.push(node(ofFamilies(service, families, context), { name, address }, port, checks, context));
  }
  // A mark has no port that a check could take.
  const ofMarks =
    service.marks.length > 0 ? sensible(asked, { ...service, addresses: [] }, context) : new Map();
  for (const { mark, family: own, span } of service.marks) {
    const family = own ?? service.family ?? familyOf(service.realServers[0]!.endpoint.address);
    const id: FwmarkServiceId = { kind: 'fwmark', mark, family };
    if (mark === 0) context.notes.ignored(span, 'mark 0 is that of packets without a mark');
    else if (isNew(id, span, context)) {
      const name = nameFor(service, id, context);
      const keys = { name, fwmark: scalarAt(span, mark), family: family === 6 ? 'ipv6' : undefined };
      nodes.push(node(ofFamilies(service, new Set([family]), context), keys, 0, ofMarks, context));
    }
  }
  if (nodes.length > 1)
    context.notes.changed(service.span, `${nodes.length} virtual services: marks are services of their own`);
  return nodes;
}

/** The service with the servers that can serve it: those of its families, and tunnels, which may cross them. */
function ofFamilies(
  service: SoundService,
  families: ReadonlySet<4 | 6>,
  { notes }: TreeContext,
): SoundService {
  const fits = ({ endpoint, span }: { endpoint: Endpoint; span: Span }, { method }: Forwarding) => {
    const sound = method === 'tunnel' || families.has(familyOf(endpoint.address));
    if (!sound)
      notes.wrong('ignored', span, `a server of IPv${familyOf(endpoint.address)} for clients of another`);
    return sound;
  };
  const { sorry, ...rest } = service;
  const kept = sorry && fits(sorry, sorry.forwarding ?? service.forwarding) ? { sorry } : {};
  return { ...rest, ...kept, realServers: service.realServers.filter((one) => fits(one, one.forwarding)) };
}

function isNew(id: ServiceId, span: Span, { taken, notes }: TreeContext): boolean {
  const key = serviceKey(id);
  if (taken.has(key)) notes.ignored(span, `${key} is a virtual service already: IPVS has it once`);
  return !taken.has(key) && taken.add(key) !== undefined;
}

/** The name given by `snmp_name`, or that of the group, where it can be one; else one made of the address. */
function nameFor(
  { name, where, span }: SoundService,
  id: ServiceId,
  { usedNames, notes }: TreeContext,
): string {
  const given = name ?? (where.kind === 'group' && id.kind === 'address' ? where.name : undefined);
  const sound = given !== undefined && nameForm.test(given) && !usedNames.has(given);
  const chosen = sound ? given : nameOfService(id);
  if (name !== undefined && !sound) notes.changed(span, `its name is "${chosen}"`);
  usedNames.add(chosen);
  return chosen;
}

function addressText({ address, port }: Endpoint, protocol: string): string {
  return `${hostText(address)}:${port === 0 ? '*' : port}${protocol === 'tcp' ? '' : `/${protocol}`}`;
}

/** All checks of real servers, and those that have something to ask: one, or a list; undefined where there is none. */
type Asked = ReadonlyMap<SoundRealServer, readonly MapNode[]>;
type Checks = ReadonlyMap<SoundRealServer, TreeNode | undefined>;

function checksOf(
  realServer: SoundRealServer,
  service: SoundService,
  context: TreeContext,
): readonly MapNode[] {
  return realServer.checkers.flatMap((checker) =>
    checkNodes(checker, {
      ...context,
      port: realServer.endpoint.port,
      checkPort: realServer.checkPort,
      needsPort:
        realServer.forwarding.method !== 'masquerade' &&
        (service.marks.length > 0 || service.addresses.some(({ port }) => port === 0)),
      timings: [realServer.timing, service.timing],
      virtualHost: realServer.virtualHost ?? service.virtualHost,
      weight: realServer.weight,
    }),
  );
}

function sensible(asked: Asked, service: SoundService, context: TreeContext): Checks {
  return new Map(
    [...asked].map(([realServer, nodes]) => {
      const kept = nodes.filter((one) => !asksNoPort(one, realServer, service, context));
      const [first, ...more] = kept;
      return [realServer, first && more.length > 0 ? listAt(first.span, kept) : first] as const;
    }),
  );
}

/** Whether a check of a port has none to ask; it is told. keepalived asks port 0, where nobody answers. */
function asksNoPort(
  { members, span }: MapNode,
  { endpoint, checkPort }: SoundRealServer,
  { addresses }: SoundService,
  { notes }: TreeContext,
): boolean {
  const type = members.get('type')?.value;
  const isPortless = type?.kind === 'scalar' && ['ping', 'file', 'script'].includes(String(type.value));
  if (isPortless || members.has('port') || endpoint.port !== 0 || checkPort !== 0) return false;
  if (addresses.some(({ port }) => port !== 0)) return false;
  notes.wrong('ignored', span, 'neither the check nor its real server names a port: there is nothing to ask');
  return true;
}

function node(
  service: SoundService,
  keys: Record<string, TreeNode | string | undefined>,
  port: number | undefined,
  checks: Checks,
  context: TreeContext,
): MapNode {
  const { span, forwarding, scheduler = 'wlc' } = service;
  const common = commonCheck(checks);
  return mapAt(span, {
    ...keys,
    scheduler: scheduler === 'wlc' ? undefined : scheduler,
    schedulerFlags: flagsNode(service),
    method: forwarding.method === 'direct-routing' ? undefined : forwarding.method,
    tunnel: tunnelNode(forwarding, span),
    persistence: persistenceNode(service, context),
    onePacket: service.onePacket ? scalarAt(service.onePacket, true) : undefined,
    check: common,
    quorum: service.quorum.value === 1 ? undefined : service.quorum.value,
    hysteresis: service.hysteresis.value === 0 ? undefined : service.hysteresis.value,
    onQuorumUp: service.onQuorumUp,
    onQuorumDown: service.onQuorumDown,
    downOnStop: service.downOnStop ? true : undefined,
    realServers: listAt(
      span,
      service.realServers.map((one) =>
        realServerNode(one, service, port, ownCheck(checks.get(one), common), context),
      ),
    ),
    sorryServer: sorryNode(service, port, context),
  });
}

const textOf = (tree: TreeNode | undefined): string => (tree ? JSON.stringify(plain(tree)) : '');

/** The check most real servers have, which the service has then. */
function commonCheck(checks: Checks): TreeNode | undefined {
  const counts = new Map<string, { count: number; tree: TreeNode }>();
  for (const tree of checks.values()) {
    if (!tree) continue;
    const text = textOf(tree);
    counts.set(text, { count: (counts.get(text)?.count ?? 0) + 1, tree: counts.get(text)?.tree ?? tree });
  }
  const [first] = [...counts.values()].sort((a, b) => b.count - a.count);
  return first && (first.count > 1 || checks.size === 1) ? first.tree : undefined;
}

function ownCheck(own: TreeNode | undefined, common: TreeNode | undefined): TreeNode | 'none' | undefined {
  if (!own) return common ? 'none' : undefined;
  return textOf(own) === textOf(common) ? undefined : own;
}

function flagsNode({ flags, scheduler, span }: SoundService): TreeNode | undefined {
  if (flags.size === 0) return undefined;
  const named = scheduler === 'sh' || scheduler === 'mh';
  const words = {
    'flag-1': named ? 'fallback' : 'flag-1',
    'flag-2': named ? 'port' : 'flag-2',
    'flag-3': 'flag-3',
  };
  return listAt(
    span,
    [...flags].sort().map((flag) => scalarAt(span, words[flag])),
  );
}

function tunnelNode({ tunnel }: Forwarding, span: Span): TreeNode | undefined {
  if (!tunnel || isPlain(tunnel)) return undefined;
  return mapAt(span, {
    type: tunnel.type,
    port: tunnel.port === 0 ? undefined : tunnel.port,
    checksum: tunnel.checksum === 'none' ? undefined : tunnel.checksum,
  });
}

const isPlain = ({ type }: Tunnel): boolean => type === 'ipip';

function persistenceNode(service: SoundService, { notes }: TreeContext): TreeNode | undefined {
  const { span, persistenceSeconds, granularity, engine, addresses, protocol } = service;
  if (persistenceSeconds === undefined) {
    if (engine) notes.ignored(engine.span, 'an engine without "persistence_timeout"');
    return undefined;
  }
  const timeout = formatDurationMs(persistenceSeconds * 1000);
  const bySip = engine?.name === 'sip' && (addresses.length === 0 || protocol.value === 'udp');
  if (engine && !bySip) notes.ignored(engine.span, 'the only engine is sip, and it goes with UDP');
  const single = !granularity || granularity.prefix === (granularity.family === 4 ? 32 : 128);
  if (single && !bySip) return scalarAt(span, timeout);
  return mapAt(span, {
    timeout,
    ...(!single && { [granularity.family === 4 ? 'netmask' : 'netmask6']: granularity.prefix }),
    engine: bySip ? 'sip' : undefined,
  });
}

/** Where a server is reached; the port only where it is not that of the virtual service. */
function endpointText(
  { address, port }: Endpoint,
  forwarding: Forwarding,
  servicePort: number | undefined,
): string {
  const own =
    port !== 0 && port !== servicePort && (forwarding.method === 'masquerade' || servicePort === undefined);
  return own ? `${hostText(address)}:${port}` : address;
}

function realServerNode(
  realServer: SoundRealServer,
  service: SoundService,
  port: number | undefined,
  check: TreeNode | 'none' | undefined,
  context: TreeContext,
): MapNode {
  const { span, endpoint, weight, upper, name } = realServer;
  const usedName = name !== undefined && nameForm.test(name) ? name : undefined;
  return mapAt(span, {
    name: usedName,
    address: endpointText(endpoint, realServer.forwarding, port),
    weight: weight === 1 ? undefined : weight,
    ...forwardingKeys(realServer.forwarding, service.forwarding, span),
    upperThreshold: upper && upper.value > 0 ? scalarAt(upper.span, upper.value) : undefined,
    lowerThreshold: lowerNode(realServer, context),
    check,
    onUp: realServer.onUp,
    onDown: realServer.onDown,
  });
}

function lowerNode({ upper, lower }: SoundRealServer, { notes }: TreeContext): TreeNode | undefined {
  if (!lower || lower.value === 0) return undefined;
  if (lower.value <= (upper?.value ?? 0)) return scalarAt(lower.span, lower.value);
  notes.ignored(lower.span, 'more than the upper threshold: IPVS refuses it');
  return undefined;
}

function forwardingKeys(own: Forwarding, usual: Forwarding, span: Span) {
  const same = JSON.stringify(own.tunnel) === JSON.stringify(usual.tunnel);
  const plainInside = own.tunnel && isPlain(own.tunnel) && usual.tunnel && !isPlain(usual.tunnel);
  return {
    method: own.method === usual.method ? undefined : own.method,
    tunnel: same ? undefined : plainInside ? mapAt(span, { type: 'ipip' }) : tunnelNode(own, span),
  };
}

function sorryNode(
  service: SoundService,
  port: number | undefined,
  { notes }: TreeContext,
): TreeNode | undefined {
  const { sorry } = service;
  if (!sorry) return undefined;
  const forwarding = sorry.forwarding ?? service.forwarding;
  const { endpoint, span } = sorry;
  if (forwarding.method !== 'masquerade' && endpoint.port !== 0 && endpoint.port !== port)
    notes.wrong('changed', span, `port ${endpoint.port} is left out: only NAT can change the port`);
  const shownPort = forwarding.method === 'masquerade' ? endpoint.port : 0;
  return mapAt(span, {
    address: endpointText({ ...endpoint, port: shownPort }, forwarding, port),
    ...forwardingKeys(forwarding, service.forwarding, span),
  });
}
