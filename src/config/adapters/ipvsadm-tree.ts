import { maskOf } from '../../model/address.ts';
import type { Span } from '../../model/problem.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import {
  type Destination,
  type ForwardingMethod,
  type FullNat,
  type Persistence,
  schedulerNames,
  type Timeouts,
  type Tunnel,
  type VirtualService,
} from '../../model/virtual-service.ts';
import type { SyncDaemon } from '../ipvsadm/command.ts';
import { formatDurationMs } from '../quantities.ts';
import type { MapNode, TreeNode } from '../tree.ts';
import type { Tell } from './adapter.ts';
import { listAt, mapAt, scalarAt } from './build-tree.ts';
import type { Member, RuleTable, Service } from './ipvsadm-table.ts';
import { nameOfService } from './service-names.ts';

/** What rules say besides the table; later rules have been put over earlier ones. */
export type RuleSettings = {
  readonly timeouts: {
    -readonly [Key in keyof Timeouts]?: { readonly seconds: number; readonly span: Span };
  };
  sync?: { readonly daemon: SyncDaemon | (Omit<SyncDaemon, 'role'> & { role: 'both' }); readonly span: Span };
};

const greatestWeight = 65_535;
const longestTimeoutSeconds = Math.floor((2 ** 31 - 1) / 1000);

/** The table as headgate.yaml: what has its default is left out. `whole` is the span of the file. */
export function configurationTree(
  table: RuleTable,
  settings: RuleSettings,
  whole: Span,
  tell: Tell,
): { root: MapNode; comments: Map<TreeNode, readonly string[]> } {
  const comments = new Map<TreeNode, readonly string[]>();
  const services = [...table.services.values()].flatMap((service) => {
    const node = serviceNode(service, comments, tell);
    if (node) comments.set(node, service.comments);
    return node ?? [];
  });
  const timeouts = Object.entries(settings.timeouts).map(([key, { seconds, span }]) => {
    const most = Math.min(seconds, longestTimeoutSeconds);
    if (most < seconds) tell('changed', span, `a timeout of ${seconds} s is ${most} s, the longest`);
    return [key, scalarAt(span, formatDurationMs(most * 1000))] as const;
  });
  const root = mapAt(whole, {
    timeouts: timeouts.length > 0 ? mapAt(timeouts[0]![1].span, Object.fromEntries(timeouts)) : undefined,
    virtualServices: listAt(whole, services),
    failover: settings.sync && mapAt(settings.sync.span, { connectionSync: syncNode(settings.sync, tell) }),
  });
  return { root, comments };
}

function serviceNode(
  { service, members, span }: Service,
  comments: Map<TreeNode, readonly string[]>,
  tell: Tell,
): MapNode | undefined {
  const { id, scheduler } = service;
  if (!schedulerNames.some((name) => name === scheduler)) {
    const servers = members.size === 0 ? '' : ', and so its real servers';
    tell('ignored', span, `${serviceKey(id)}: no configuration can say "-s ${scheduler}"${servers}`);
    for (const member of members.values()) tell('ignored', member.span, 'its virtual service is ignored');
    return undefined;
  }
  const kept = expressible(service, members, tell);
  const method = mostFrequent(kept.map(({ destination }) => destination.method)) ?? 'direct-routing';
  const tunnel = commonTunnel(kept);
  const flags = flagWords(service);
  return mapAt(span, {
    name: nameOfService(id),
    ...(id.kind === 'fwmark'
      ? { fwmark: id.mark, family: id.family === 6 ? 'ipv6' : undefined }
      : { address: `${hostText(id.address)}:${id.port === 0 ? '*' : id.port}${protocolText(id.protocol)}` }),
    scheduler: scheduler === 'wlc' ? undefined : scheduler,
    schedulerFlags:
      flags.length === 0
        ? undefined
        : listAt(
            span,
            flags.map((flag) => scalarAt(span, flag)),
          ),
    method: method === 'direct-routing' ? undefined : method,
    tunnel: tunnel && tunnelNode(tunnel, span),
    persistence: service.persistence && persistenceNode(service, service.persistence, span, tell),
    onePacket: service.onePacket ? true : undefined,
    // IPVS's rule, which is not the one a configuration has by itself.
    whenGone: 'drop',
    realServers:
      kept.length === 0
        ? undefined
        : listAt(
            span,
            kept.map((member) => {
              const node = realServerNode(member, service, method, tunnel);
              comments.set(node, member.comments);
              return node;
            }),
          ),
  });
}

const hostText = (address: string): string => (address.includes(':') ? `[${address}]` : address);
const protocolText = (protocol: string): string => (protocol === 'tcp' ? '' : `/${protocol}`);

/** The real servers of a service as a configuration can say them. */
function expressible(
  { id }: VirtualService,
  members: ReadonlyMap<string, Member>,
  tell: Tell,
): readonly Member[] {
  const servicePort = id.kind === 'address' ? id.port : 0;
  const kept = new Map<string, Member>();
  for (const member of members.values()) {
    let { destination } = member;
    if (destination.weight > greatestWeight) {
      tell('changed', member.span, `weight ${destination.weight} is ${greatestWeight}, the greatest`);
      destination = { ...destination, weight: greatestWeight };
    }
    if (destination.port === 0 && servicePort !== 0) {
      tell('changed', member.span, `port 0 is that of the virtual service, ${servicePort}`);
      destination = { ...destination, port: servicePort };
    }
    const key = destinationKey(destination);
    if (kept.has(key)) tell('ignored', member.span, `real server ${key} is there already`);
    else kept.set(key, { ...member, destination });
  }
  return [...kept.values()];
}

/** The method most real servers have; of equals the one that comes first. */
function mostFrequent(methods: readonly ForwardingMethod[]): ForwardingMethod | undefined {
  const counts = new Map<ForwardingMethod, number>();
  for (const method of methods) counts.set(method, (counts.get(method) ?? 0) + 1);
  const [first] = [...counts].sort(([, a], [, b]) => b - a);
  return first?.[0];
}

/** The tunnel all real servers of the method have, where it is not plain ipip. */
function commonTunnel(members: readonly Member[]): Tunnel | undefined {
  const tunnels = members.flatMap(({ destination }) => destination.tunnel ?? []);
  const [first] = tunnels;
  return first && !isPlain(first) && tunnels.every((tunnel) => tunnelKey(tunnel) === tunnelKey(first))
    ? first
    : undefined;
}

const tunnelKey = ({ type, port, checksum }: Tunnel): string => `${type} ${port} ${checksum}`;
const isPlain = ({ type }: Tunnel): boolean => type === 'ipip';

function tunnelNode({ type, port, checksum }: Tunnel, span: Span): MapNode {
  return mapAt(span, {
    type,
    port: port === 0 ? undefined : port,
    checksum: checksum === 'none' ? undefined : checksum,
  });
}

/** Undefined where it says nothing that is not taken for granted. */
function fullNatNode({ localAddresses, clientAddress }: FullNat, span: Span): MapNode | undefined {
  if (localAddresses.length === 0 && clientAddress === 'hidden') return undefined;
  return mapAt(span, {
    localAddresses:
      localAddresses.length === 0
        ? undefined
        : listAt(
            span,
            localAddresses.map((address) => scalarAt(span, address)),
          ),
    clientAddress: clientAddress === 'hidden' ? undefined : clientAddress,
  });
}

function realServerNode(
  { destination, span }: Member,
  { id }: VirtualService,
  method: ForwardingMethod,
  tunnel: Tunnel | undefined,
): MapNode {
  const own = destination.tunnel && !tunnel && !isPlain(destination.tunnel) ? destination.tunnel : undefined;
  return mapAt(span, {
    address: endpointText(destination, id.kind === 'address' ? id.port : 0),
    weight: destination.weight === 1 ? undefined : destination.weight,
    method: destination.method === method ? undefined : destination.method,
    tunnel: own && tunnelNode(own, span),
    fullNat: destination.fullNat && fullNatNode(destination.fullNat, span),
    upperThreshold: destination.upperThreshold === 0 ? undefined : destination.upperThreshold,
    lowerThreshold: destination.lowerThreshold === 0 ? undefined : destination.lowerThreshold,
  });
}

function endpointText({ address, port }: Destination, servicePort: number): string {
  return port === servicePort ? address : `${hostText(address)}:${port}`;
}

function flagWords({ scheduler, schedulerFlags: flags }: VirtualService): string[] {
  const named = scheduler === 'sh' || scheduler === 'mh';
  const words = named ? ['fallback', 'port', 'flag-3'] : ['flag-1', 'flag-2', 'flag-3'];
  const set = [flags.flag1, flags.flag2, flags.flag3];
  return words.filter((_, i) => set[i]);
}

function persistenceNode(
  { id }: VirtualService,
  { timeoutSeconds, netmask, engine }: Persistence,
  span: Span,
  tell: Tell,
): TreeNode {
  const timeout = formatDurationMs(timeoutSeconds * 1000);
  const v6 = id.kind === 'fwmark' ? id.family === 6 : id.address.includes(':');
  const length = v6 ? netmask : Math.clz32(~netmask);
  const sayable = v6 || (length > 0 && maskOf(length) === netmask);
  if (!sayable)
    tell('ignored', span, 'no configuration can say this "-M": its ones must be together, and at least one');
  const single = !sayable || length === (v6 ? 128 : 32);
  const bySip = engine === 'sip' && (id.kind === 'fwmark' || id.protocol === 'udp');
  if (engine !== undefined && !bySip) tell('ignored', span, `"--pe ${engine}" goes with UDP only`);
  if (single && !bySip) return scalarAt(span, timeout);
  return mapAt(span, {
    timeout,
    netmask: single || v6 ? undefined : length,
    netmask6: single || !v6 ? undefined : length,
    engine: bySip ? engine : undefined,
  });
}

const shortestMessage = 68;

function syncNode({ daemon, span }: NonNullable<RuleSettings['sync']>, tell: Tell): MapNode {
  const { role, interface: name, syncId, group, port, ttl, maximumLength } = daemon;
  const tooShort = maximumLength !== undefined && maximumLength < shortestMessage;
  if (tooShort) tell('changed', span, `messages of ${maximumLength} bytes: ${shortestMessage} are the least`);
  return mapAt(span, {
    interface: name,
    role,
    id: syncId === 0 ? undefined : syncId,
    group,
    port: port === 8848 ? undefined : port,
    ttl: ttl === 1 ? undefined : ttl,
    maxLength: tooShort ? shortestMessage : maximumLength,
  });
}
