import { type Address, familyOf } from '../../../model/address.ts';
import type { Span } from '../../../model/problem.ts';
import { formatDurationMs } from '../../quantities.ts';
import { parsePrefix } from '../../schema/addresses.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import { addressIn, interfaceIn, shown } from './addresses.ts';
import type { Statement, Value } from './blocks.ts';
import { takeSync } from './globals.ts';
import { cleanName } from './names.ts';
import { listed, nodesAt, routeNode, ruleNode } from './paths.ts';
import { ignoreAll, listAt, mapAt, type Scope, scalarAt } from './scope.ts';
import { firstWord, noteRest, timeMs, wholeNumber, yesOrNo } from './values.ts';
import type { VrrpContext } from './vrrp-context.ts';
import { vrrpReason } from './vrrp-group.ts';
import { noPrograms, notifyNode, type Programs, takeNotify } from './vrrp-notify.ts';
import { noTrackers, type Trackers, takeTracked, trackerKeys, trackerNodes } from './vrrp-tracking.ts';

type Placed<Value> = { readonly value: Value; readonly span: Span };

/** A block `vrrp_instance` as it is said. */
type Draft = {
  readonly name: string;
  readonly span: Span;
  readonly addresses: Placed<string>[];
  readonly excluded: Placed<string>[];
  readonly peers: Placed<Address>[];
  readonly trackers: Trackers;
  readonly routes: MapNode[];
  readonly rules: MapNode[];
  readonly programs: Programs;
  interface?: Placed<string>;
  master?: Placed<boolean>;
  routerId?: number;
  priority?: number;
  version?: Placed<number>;
  intervalMs?: Placed<number>;
  authentication?: { type?: 'password' | 'ah'; secret?: Placed<string>; readonly span: Span };
  accept?: boolean;
  noPreempt?: Span;
  preemptDelay?: Placed<number>;
  source?: Placed<Address>;
  virtualMac?: boolean;
  /** Where `vmac_xmit_base` is said. */
  advertisesFromBase?: Span;
  repeat?: number;
  delayMs?: number;
  refreshMs?: number;
};

/** Reads a block `vrrp_instance`; undefined where keepalived drops it, or where it cannot be said. */
export function instanceNode(statement: Statement, context: VrrpContext): MapNode | undefined {
  const { notes, instances } = context;
  const first = firstWord(statement, 'a name', context);
  if (!first) return undefined;
  noteRest(statement, 1, context);
  const drop = (reason: string, mistake = true): undefined => {
    ignoreAll(statement.statements, `its instance is ignored: ${reason}`, context);
    if (mistake) notes.wrong('ignored', statement.span, reason);
    else notes.ignored(statement.span, reason);
    return undefined;
  };
  if (instances.has(first.text)) return drop(`instance "${shown(first.text)}" is there already`);
  const name = cleanName(first.text);
  if ([...instances.values()].includes(name))
    return drop(`the name "${name}" is that of another instance`, false);
  const draft: Draft = {
    ...{ name, span: statement.span, addresses: [], excluded: [], peers: [] },
    ...{ trackers: noTrackers(), programs: noPrograms(), routes: [], rules: [] },
  };
  notes.kept(statement.span, 'an instance of VRRP');
  if (name !== first.text) notes.changed(first.span, `its name is "${name}"`);
  for (const inner of statement.statements) takeKeyword(inner, draft, context);
  for (const { keyword, value } of context.groupTrackers.get(first.text) ?? [])
    takeTracked(value, keyword, draft.trackers, context);
  if (!draft.interface) return drop('no "interface"');
  if (draft.routerId === undefined) return drop('no "virtual_router_id"');
  const [main] = draft.addresses;
  if (!main) return drop('no virtual address', draft.excluded.length === 0);
  const family = familyIn(main.value);
  const router = `${draft.interface.value} ${draft.routerId} ${family}`;
  if (context.routers.has(router))
    return drop(`virtual router ${draft.routerId} is there already on ${draft.interface.value}`);
  context.routers.add(router);
  instances.set(first.text, name);
  return nodeOf(draft, draft.interface, draft.routerId, family, context);
}

const familyIn = (prefix: string): 4 | 6 => (prefix.includes(':') ? 6 : 4);

function nodeOf(
  draft: Draft,
  where: Placed<string>,
  routerId: number,
  family: 4 | 6,
  context: VrrpContext,
): MapNode {
  const { notes } = context;
  const defaults = context.globals.vrrp;
  const { span, priority = 100 } = draft;
  const version = versionOf(draft, family, context);
  const main = draft.addresses.filter(({ value }) => familyIn(value) === family);
  const others = draft.addresses.filter(({ value }) => familyIn(value) !== family);
  for (const { span: at } of others)
    notes.wrong('changed', at, `an address that advertisements cannot name: "excludedAddresses"`);
  const hashed = draft.authentication?.type === 'ah' && version === 2;
  if (hashed && draft.master?.value)
    notes.wrong('changed', draft.master.span, 'with authentication AH it starts as BACKUP');
  const master = draft.master?.value === true && !hashed;
  if (draft.noPreempt && (master || priority === 255))
    notes.wrong(
      'ignored',
      draft.noPreempt,
      `"nopreempt" goes with "state BACKUP" and less than priority 255 only`,
    );
  if (draft.preemptDelay && master)
    notes.wrong('ignored', draft.preemptDelay.span, '"preempt_delay" goes with "state BACKUP" only');
  if (draft.advertisesFromBase && !draft.virtualMac)
    notes.ignored(draft.advertisesFromBase, '"vmac_xmit_base" goes with "use_vmac" only');
  const nopreempt = draft.noPreempt !== undefined && !master && priority !== 255;
  const accept = draft.accept ?? (defaults.strict ? priority === 255 : true);
  if (!accept && draft.accept === undefined)
    notes.changed(span, 'vrrp_strict: who does not own the addresses takes nothing that is sent to them');
  return mapAt(span, {
    name: draft.name,
    interface: scalarAt(where.span, where.value),
    routerId,
    version: version === 3 ? undefined : version,
    priority: priority === 100 ? undefined : priority,
    initial: master ? scalarAt(draft.master!.span, 'master') : undefined,
    advertisementInterval: intervalNode(draft, version, context),
    addresses: prefixList(main, span),
    excludedAddresses: prefixList([...others, ...draft.excluded], span),
    accept: accept ? undefined : false,
    preempt: nopreempt ? scalarAt(draft.noPreempt!, false) : undefined,
    preemptDelay:
      draft.preemptDelay && !master && draft.preemptDelay.value > 0
        ? scalarAt(draft.preemptDelay.span, formatDurationMs(draft.preemptDelay.value))
        : undefined,
    source: draft.source && scalarAt(draft.source.span, draft.source.value),
    peers: prefixList(
      draft.peers.filter((peer) => isOfFamily(peer, family, context)),
      span,
    ),
    virtualMac: draft.virtualMac ? true : undefined,
    advertiseFromInterface:
      draft.virtualMac && draft.advertisesFromBase ? scalarAt(draft.advertisesFromBase, true) : undefined,
    authentication: authenticationNode(draft, version, context),
    announce: announceNode(draft, context),
    ...trackerNodes(draft.trackers, priority, span, context),
    routes: nodesAt(draft.routes, span),
    rules: nodesAt(draft.rules, span),
    notify: notifyNode(draft.programs),
  });
}

function isOfFamily(peer: Placed<Address>, family: 4 | 6, { notes }: Scope): boolean {
  if (familyOf(peer.value) === family) return true;
  notes.wrong('ignored', peer.span, `a peer of IPv${familyOf(peer.value)} for addresses of IPv${family}`);
  return false;
}

function versionOf(
  { version }: Draft,
  family: 4 | 6,
  { notes, globals: { vrrp: defaults } }: VrrpContext,
): 2 | 3 {
  const said = version?.value ?? defaults.version ?? 2;
  if (version?.value === 2 && family === 6) notes.wrong('changed', version.span, 'IPv6 needs version 3');
  return said === 3 || family === 6 ? 3 : 2;
}

/** Version 2 has whole seconds up to 255, version 3 hundredths up to 40.95 s (RFC 9568, 5.2.7). */
function intervalNode({ intervalMs }: Draft, version: 2 | 3, { notes }: Scope): TreeNode | undefined {
  if (!intervalMs) return undefined;
  const { value, span } = intervalMs;
  const kept =
    version === 2
      ? Math.min(255, Math.max(1, Math.round(value / 1000))) * 1000
      : Math.min(40_950, Math.max(10, Math.round(value / 10) * 10));
  if (kept !== value)
    notes.wrong('changed', span, `${value / 1000} s is ${kept / 1000} s in version ${version} of VRRP`);
  return kept === 1000 ? undefined : scalarAt(span, formatDurationMs(kept));
}

function prefixList(list: readonly Placed<string>[], span: Span): TreeNode | undefined {
  const once = [...new Map(list.map((one) => [one.value, one])).values()];
  return once.length === 0
    ? undefined
    : listAt(
        span,
        once.map((one) => scalarAt(one.span, one.value)),
      );
}

function authenticationNode(
  { authentication }: Draft,
  version: 2 | 3,
  { notes }: Scope,
): TreeNode | undefined {
  if (!authentication) return undefined;
  const { type, secret, span } = authentication;
  if (version === 3) {
    notes.wrong('ignored', span, 'version 3 of VRRP has no authentication');
    return undefined;
  }
  if (!type || !secret) {
    notes.wrong('ignored', span, `no "${type ? 'auth_pass' : 'auth_type'}"`);
    return undefined;
  }
  let kept = secret.value;
  while (Buffer.byteLength(kept) > 8) kept = kept.slice(0, -1);
  if (kept !== secret.value) notes.changed(secret.span, 'the first 8 bytes of the password count');
  return mapAt(span, { type, secret: scalarAt(secret.span, kept) });
}

function announceNode(
  draft: Draft,
  { notes, globals: { vrrp: defaults } }: VrrpContext,
): TreeNode | undefined {
  const few = defaults.fewAnnouncements === true;
  const repeat = draft.repeat ?? defaults.repeat ?? (few ? 1 : 5);
  const delayMs = draft.delayMs ?? defaults.delayMs ?? (few ? 0 : 5000);
  const refreshMs = draft.refreshMs ?? defaults.refreshMs ?? 0;
  const bounded = Math.min(60, Math.max(1, repeat));
  if (bounded !== repeat) notes.changed(draft.span, `${repeat} gratuitous ARP packets are ${bounded}`);
  if (bounded === 5 && delayMs === 5000 && refreshMs === 0) return undefined;
  return mapAt(draft.span, {
    repeat: bounded === 5 ? undefined : bounded,
    delay: delayMs === 5000 ? undefined : formatDurationMs(Math.min(delayMs, 3_600_000)),
    refresh: refreshMs === 0 ? undefined : formatDurationMs(Math.min(refreshMs, 86_400_000)),
  });
}

function takeKeyword(statement: Statement, draft: Draft, context: VrrpContext): void {
  const { keyword, span, values } = statement;
  const { notes } = context;
  const kept = (reason: string) => notes.kept(span, reason);
  switch (keyword) {
    case 'state': {
      const word = firstWord(statement, 'MASTER or BACKUP', context);
      if (!word) return;
      if (word.text !== 'MASTER' && word.text !== 'BACKUP')
        notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted MASTER or BACKUP`);
      else draft.master = { value: word.text === 'MASTER', span: word.span };
      noteRest(statement, 1, context);
      kept('"initial"');
      return;
    }
    case 'interface': {
      const word = firstWord(statement, 'an interface', context);
      if (!word) return;
      const name = interfaceIn(word, context);
      if (name !== undefined) draft.interface = { value: name, span: word.span };
      noteRest(statement, 1, context);
      kept('"interface"');
      return;
    }
    case 'virtual_router_id':
      draft.routerId = wholeNumber(statement, [1, 255], context) ?? draft.routerId!;
      kept('"routerId"');
      return;
    case 'priority':
      draft.priority = wholeNumber(statement, [1, 255], context) ?? draft.priority!;
      kept('"priority"');
      return;
    case 'advert_int': {
      const value = timeMs(statement, 10, context);
      if (value !== undefined) draft.intervalMs = { value, span };
      kept('"advertisementInterval"');
      return;
    }
    case 'version': {
      const value = wholeNumber(statement, [2, 3], context);
      if (value !== undefined) draft.version = { value, span };
      kept('"version"');
      return;
    }
    case 'authentication':
      readAuthentication(statement, draft, context);
      kept('"authentication"');
      return;
    case 'virtual_ipaddress':
    case 'virtual_ipaddress_excluded': {
      const list = keyword === 'virtual_ipaddress' ? draft.addresses : draft.excluded;
      for (const value of values) takeAddress(value, list, draft, context);
      kept(keyword === 'virtual_ipaddress' ? '"addresses"' : '"excludedAddresses"');
      return;
    }
    case 'virtual_routes':
      for (const value of values) draft.routes.push(...listed(routeNode(value, context)));
      kept('"routes"');
      return;
    case 'virtual_rules':
      for (const value of values) draft.rules.push(...listed(ruleNode(value, context)));
      kept('"rules"');
      return;
    case 'unicast_peer':
      for (const { words, span: at } of values) {
        const address = addressIn(words[0]!, context);
        if (address !== undefined) draft.peers.push({ value: address, span: words[0]!.span });
        if (words.length > 1) notes.ignored(words[1]!.span, 'advertisements of peers may have any TTL');
        notes.kept(at, '"peers"');
      }
      kept('"peers"');
      return;
    case 'mcast_src_ip':
    case 'unicast_src_ip': {
      const word = firstWord(statement, 'an address', context);
      const value = word && addressIn(word, context);
      if (value !== undefined) draft.source = { value, span: word!.span };
      kept('"source"');
      return;
    }
    case 'nopreempt':
      draft.noPreempt = span;
      kept('"preempt"');
      return;
    case 'preempt':
      delete draft.noPreempt;
      kept('"preempt"');
      return;
    case 'preempt_delay': {
      const value = timeMs(statement, 0, context);
      if (value !== undefined) draft.preemptDelay = { value: Math.min(value, 1_000_000), span };
      kept('"preemptDelay"');
      return;
    }
    case 'accept':
    case 'no_accept':
      draft.accept = keyword === 'accept';
      kept('"accept"');
      return;
    case 'use_vmac':
      draft.virtualMac = true;
      if (statement.words.length > 0) notes.changed(span, '"virtualMac"; the interface gets a name of ours');
      kept('"virtualMac"');
      return;
    case 'vmac_xmit_base':
      draft.advertisesFromBase = span;
      kept('"advertiseFromInterface"');
      return;
    case 'garp_master_repeat':
      draft.repeat = wholeNumber(statement, [0, 4_294_967_295], context) ?? draft.repeat!;
      kept('"announce.repeat"');
      return;
    case 'garp_master_delay':
      draft.delayMs = timeMs(statement, 0, context) ?? draft.delayMs!;
      kept('"announce.delay"');
      return;
    case 'garp_master_refresh':
      draft.refreshMs = timeMs(statement, 0, context) ?? draft.refreshMs!;
      kept('"announce.refresh"');
      return;
    case 'track_interface':
    case 'track_script':
    case 'track_file':
    case 'track_process':
      for (const value of values) takeTracked(value, keyword, draft.trackers, context);
      kept(`"${trackerKeys[keyword]}"`);
      return;
    case 'lvs_sync_daemon_interface':
      notes.wrong('changed', span, 'connection sync is said once, for all instances');
      takeSync(statement, context.globals, context, 'auto');
      return;
    case 'native_ipv6':
      notes.changed(span, 'its addresses say the family');
      return;
    case 'strict_mode':
      if (yesOrNo(statement, context))
        notes.ignored(span, 'what RFC 9568 forbids is told by "headgate validate"');
      return;
    default:
      if (!takeNotify(statement, draft.programs, context))
        ignoreAll([statement], vrrpReason(keyword), context);
  }
}

function readAuthentication(statement: Statement, draft: Draft, context: VrrpContext): void {
  const authentication: NonNullable<Draft['authentication']> = { span: statement.span };
  for (const inner of statement.statements) {
    const word = firstWord(inner, inner.keyword === 'auth_type' ? 'PASS or AH' : 'a password', context);
    if (!word) continue;
    noteRest(inner, 1, context);
    if (inner.keyword === 'auth_pass') authentication.secret = { value: word.text, span: word.span };
    else if (word.text === 'PASS') authentication.type = 'password';
    else if (word.text === 'AH') authentication.type = 'ah';
    else context.notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted PASS or AH`);
    context.notes.kept(inner.span, '"authentication"');
  }
  draft.authentication = authentication;
}

/** `ADDRESS[/LENGTH] [brd A] [dev IF] [scope S] [label L] ...`. */
function takeAddress(
  { words, span }: Value,
  list: Placed<string>[],
  draft: Draft,
  context: VrrpContext,
): void {
  const { notes } = context;
  const [first, ...options] = words;
  const prefix = parsePrefix(first!.text);
  if (!prefix) {
    notes.wrong('ignored', first!.span, `"${shown(first!.text)}": wanted an address`);
    return;
  }
  const bits = familyOf(prefix.address) === 4 ? 32 : 128;
  list.push({
    value: prefix.length === bits ? prefix.address : `${prefix.address}/${prefix.length}`,
    span: first!.span,
  });
  notes.kept(span, 'a virtual address');
  for (let i = 0; i < options.length; i++) {
    const { text, span: at } = options[i]!;
    const next = options[i + 1];
    if (text === 'dev' && next && next.text === draft.interface?.value) i++;
    else if (['dev', 'brd', 'broadcast', 'scope', 'label', 'peer', 'preferred_lft'].includes(text)) {
      const what =
        text === 'dev' ? 'the address goes to the interface of the instance' : `"${text}" is not set`;
      notes.ignored(at, `${text} ${shown(next?.text ?? '')}: ${what}`);
      i++;
    } else notes.ignored(at, `"${shown(text)}" is not set`);
  }
}
