import { familyOf } from '../../../model/address.ts';
import { destinationKey } from '../../../model/service-id.ts';
import { shown } from './addresses.ts';
import type { Group } from './groups.ts';
import type { Scope } from './scope.ts';
import type { Forwarding, RealServerDraft, ServiceDraft } from './service-draft.ts';
import { defaultPersistenceSeconds } from './virtual-server.ts';

/** A virtual server with everything said and put right: what keepalived would work with. */
export type SoundService = Omit<
  ServiceDraft,
  'protocol' | 'forwarding' | 'quorum' | 'hysteresis' | 'realServers'
> & {
  readonly addresses: Group['addresses'];
  readonly marks: Group['marks'];
  readonly protocol: { readonly value: 'tcp' | 'udp' | 'sctp' };
  readonly forwarding: Forwarding;
  readonly quorum: { readonly value: number };
  readonly hysteresis: { readonly value: number };
  readonly realServers: readonly SoundRealServer[];
};

export type SoundRealServer = Omit<RealServerDraft, 'forwarding' | 'weight'> & {
  readonly forwarding: Forwarding;
  readonly weight: number;
  /** Where its checkers go unless they say otherwise; 0: nobody says. */
  readonly checkPort: number;
};

/**
 * Puts right what keepalived puts right when it has read everything (validate_check_config), and notes it. Undefined where it
 * drops the virtual server.
 */
export function repaired(
  draft: ServiceDraft,
  groups: ReadonlyMap<string, Group>,
  scope: Scope,
): SoundService | undefined {
  const { notes } = scope;
  const { where, span } = draft;
  const drop = (reason: string): undefined => {
    notes.wrong('ignored', span, reason);
    return undefined;
  };
  const group = where.kind === 'group' ? groups.get(where.name) : undefined;
  if (where.kind === 'group' && !group) return drop(`no virtual_server_group is "${shown(where.name)}"`);
  const addresses = where.kind === 'address' ? [{ ...where.endpoint, span }] : (group?.addresses ?? []);
  const marks = where.kind === 'fwmark' ? [{ mark: where.mark, span }] : (group?.marks ?? []);
  const families = new Set([
    ...addresses.map(({ address }) => familyOf(address)),
    ...marks.flatMap(({ family }) => family ?? draft.family ?? []),
  ]);
  const usable = draft.realServers.filter((realServer) => fits(realServer, families, draft, scope));
  if (usable.length === 0) return drop('a virtual server without real servers');
  const protocol = draft.protocol ?? { value: addresses.length > 0 ? 'udp' : 'tcp' };
  if (addresses.length > 0 && !draft.protocol)
    notes.wrong('changed', span, 'no "protocol": keepalived takes UDP then');
  if (addresses.length === 0 && draft.protocol)
    notes.wrong('changed', draft.protocol.span, 'a mark has no protocol');
  if (draft.onePacket && addresses.length > 0 && protocol.value !== 'udp') {
    notes.wrong('ignored', draft.onePacket, '"ops" goes with UDP only');
    delete draft.onePacket;
  }
  if (draft.persistenceSeconds === undefined && addresses.some(({ port }) => port === 0)) {
    notes.wrong('changed', span, 'every port needs persistence: 6m, what keepalived sets');
    draft.persistenceSeconds = defaultPersistenceSeconds;
  }
  if (draft.scheduler === undefined) notes.wrong('changed', span, 'no "lvs_sched": wlc');
  const forwarding = draft.forwarding ?? { method: 'masquerade' as const };
  if (!draft.forwarding && usable.some((one) => !one.forwarding))
    notes.wrong('changed', span, 'no "lvs_method": NAT');
  const port = where.kind === 'address' ? where.endpoint.port : undefined;
  const realServers = withoutDoubles(
    usable.map((realServer) => soundRealServer(realServer, draft, forwarding, port, scope)),
    scope,
  );
  return {
    ...draft,
    ...{ addresses, marks, protocol, forwarding, realServers },
    ...quorumOf(draft, realServers, scope),
  };
}

/** Whether a real server is of a family that is served; a tunnel may cross families. */
function fits(
  { endpoint, forwarding, span }: RealServerDraft,
  families: ReadonlySet<4 | 6>,
  draft: ServiceDraft,
  { notes }: Scope,
): boolean {
  const family = familyOf(endpoint.address);
  const { method } = forwarding ?? draft.forwarding ?? { method: 'masquerade' };
  if (method === 'tunnel' || families.size === 0 || families.has(family)) return true;
  notes.wrong(
    'ignored',
    span,
    `a real server of IPv${family} in a virtual server of IPv${family === 4 ? 6 : 4}`,
  );
  return false;
}

/** A real server with its method, weight and port. `port` is that of the virtual server, where it has one. */
function soundRealServer(
  draft: RealServerDraft,
  service: ServiceDraft,
  usual: Forwarding,
  port: number | undefined,
  { notes }: Scope,
): SoundRealServer {
  const forwarding = draft.forwarding ?? usual;
  const weight = draft.weight ?? service.weight ?? 1;
  const own = draft.endpoint.port;
  let kept = own;
  if (forwarding.method !== 'masquerade' && own !== 0 && own !== port) {
    const what = port === undefined ? 'left out' : `${port}, that of the virtual server`;
    notes.wrong('changed', draft.span, `port ${own} is ${what}: only NAT can change the port`);
    kept = 0;
  }
  if (own === 0 && port !== undefined) kept = port;
  const checkPort = own === 0 ? kept : own;
  return { ...draft, forwarding, weight, checkPort, endpoint: { ...draft.endpoint, port: kept } };
}

function withoutDoubles(
  realServers: readonly SoundRealServer[],
  { notes }: Scope,
): readonly SoundRealServer[] {
  const taken = new Set<string>();
  return realServers.filter(({ endpoint, span }) => {
    const key = destinationKey(endpoint);
    if (taken.has(key)) notes.wrong('ignored', span, `real server ${key} is there already`);
    return !taken.has(key) && taken.add(key);
  });
}

function quorumOf(
  { quorum, hysteresis, span }: ServiceDraft,
  realServers: readonly SoundRealServer[],
  { notes }: Scope,
): Pick<SoundService, 'quorum' | 'hysteresis'> {
  const sum = realServers.reduce((total, { weight }) => total + weight, 0);
  const wanted = quorum?.value ?? 1;
  const value = Math.max(1, Math.min(wanted, sum));
  if (wanted > sum)
    notes.wrong(
      'changed',
      quorum?.span ?? span,
      `quorum ${wanted} is ${value}: all weights together are ${sum}`,
    );
  const most = Math.min(wanted, sum) - 1;
  const asked = hysteresis?.value ?? 0;
  const kept = Math.max(0, Math.min(asked, most));
  if (asked > most && asked > 0)
    notes.wrong('changed', hysteresis?.span ?? span, `hysteresis ${asked} is ${kept}: less than the quorum`);
  return { quorum: { value }, hysteresis: { value: kept } };
}
