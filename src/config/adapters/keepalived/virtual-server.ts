import { familyOf } from '../../../model/address.ts';
import { schedulerNames } from '../../../model/virtual-service.ts';
import { parseMask } from '../../schema/addresses.ts';
import { endpointIn, shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import { readForwarding } from './forwarding.ts';
import { readRealServer } from './real-server.ts';
import { commandOf, ignoreAll, type Scope } from './scope.ts';
import type { ServiceDraft } from './service-draft.ts';
import { takeTiming } from './timing.ts';
import { firstWord, noteRest, numberIn, unsignedMax, wholeNumber, yesOrNo } from './values.ts';

const longestPersistenceSeconds = 31 * 86_400;
/** What IPVS and keepalived have where no timeout is given. */
export const defaultPersistenceSeconds = 360;

/** Reads a block `virtual_server`; undefined where it begins with nothing that can be one, as keepalived passes over it. */
export function readVirtualServer(statement: Statement, scope: Scope): ServiceDraft | undefined {
  const where = readWhere(statement, scope);
  if (!where) {
    ignoreAll(statement.statements, 'its virtual server is ignored', scope);
    return undefined;
  }
  const draft: ServiceDraft = {
    ...{ span: statement.span, where, timing: {}, realServers: [], flags: new Set() },
    ...(where.kind === 'address' && { family: familyOf(where.endpoint.address) }),
  };
  scope.notes.kept(statement.span, 'a virtual service');
  for (const inner of statement.statements) takeKeyword(inner, draft, scope);
  return draft;
}

function readWhere(statement: Statement, scope: Scope): ServiceDraft['where'] | undefined {
  const first = firstWord(statement, 'an address, "fwmark" or "group"', scope);
  if (!first) return undefined;
  noteRest(statement, 2, scope);
  const [, second] = statement.words;
  if (first.text !== 'group' && first.text !== 'fwmark') {
    const endpoint = endpointIn(first, second, scope);
    return endpoint && { kind: 'address', endpoint };
  }
  const needed = firstWord(
    { ...statement, words: statement.words.slice(1) },
    first.text === 'group' ? 'the name of a group' : 'a mark',
    scope,
  );
  if (!needed) return undefined;
  if (first.text === 'group') return { kind: 'group', name: needed.text };
  const mark = numberIn(needed, [0, unsignedMax], scope);
  return mark === undefined ? undefined : { kind: 'fwmark', mark };
}

function takeKeyword(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const { keyword, span } = statement;
  const { notes } = scope;
  if (takeTiming(draft.timing, statement, scope, 1)) return;
  switch (keyword) {
    case 'real_server': {
      const realServer = readRealServer(statement, draft, scope);
      if (realServer) draft.realServers.push(realServer);
      return;
    }
    case 'lb_algo':
    case 'lvs_sched':
      takeScheduler(statement, draft, scope);
      return;
    case 'lb_kind':
    case 'lvs_method':
      draft.forwarding = readForwarding(statement, scope) ?? draft.forwarding;
      return;
    case 'flag-1':
    case 'flag-2':
    case 'flag-3':
      draft.flags.add(keyword);
      notes.kept(span, '"schedulerFlags"');
      return;
    case 'sh-fallback':
    case 'sh-port':
    case 'mh-fallback':
    case 'mh-port':
      takeNamedFlag(statement, draft, scope);
      return;
    case 'hashed':
      notes.changed(span, 'every service is found by its hash');
      return;
    case 'ops':
      draft.onePacket = span;
      notes.kept(span, '"onePacket"');
      return;
    case 'protocol':
      takeProtocol(statement, draft, scope);
      return;
    case 'ip_family':
      takeFamily(statement, draft, scope);
      return;
    case 'persistence_timeout':
      takePersistence(statement, draft, scope);
      return;
    case 'persistence_granularity':
      takeGranularity(statement, draft, scope);
      return;
    case 'persistence_engine': {
      const word = firstWord(statement, 'the name of an engine', scope);
      if (word) draft.engine = { name: word.text, span: word.span };
      notes.kept(span, '"persistence.engine"');
      return;
    }
    case 'quorum':
    case 'hysteresis': {
      const value = wholeNumber(statement, [keyword === 'quorum' ? 1 : 0, unsignedMax], scope);
      if (value === undefined) return;
      draft[keyword] = { value, span };
      notes.kept(span, `"${keyword}"`);
      return;
    }
    case 'weight':
      draft.weight = wholeNumber(statement, [1, 65_535], scope);
      notes.kept(span, 'the weight of real servers that have none');
      return;
    case 'virtualhost': {
      const word = firstWord(statement, 'the name of a host', scope);
      if (word) draft.virtualHost = word.text;
      notes.kept(span, 'the host that is asked');
      return;
    }
    case 'snmp_name': {
      const word = firstWord(statement, 'a name', scope);
      if (word) draft.name = word.text;
      notes.kept(span, 'the name of the virtual service');
      return;
    }
    case 'omega':
      draft.downOnStop = yesOrNo(statement, scope);
      notes.kept(span, '"downOnStop", for the end of "headgate run --stop-forwarding"');
      return;
    case 'quorum_up':
      notes.kept(span, '"onQuorumUp"');
      draft.onQuorumUp ??= commandOf(statement, scope);
      return;
    case 'quorum_down':
      draft.onQuorumDown ??= commandOf(statement, scope);
      notes.kept(span, '"onQuorumDown"');
      return;
    case 'sorry_server':
    case 'sorry_server_inhibit':
    case 'sorry_server_lvs_method':
      takeSorry(statement, draft, scope);
      return;
    default:
      notes.ignored(span, notSayable[keyword] ?? `no configuration can say "${keyword}"`);
      return;
  }
}

const notSayable: Readonly<Record<string, string>> = {
  ha_suspend: 'checks go on while the address is with another director',
  smtp_alert: 'who is told of what is said for all services at once',
};

function takeScheduler(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const word = firstWord(statement, 'a scheduler', scope);
  if (!word) return;
  noteRest(statement, 1, scope);
  const name = schedulerNames.find((one) => one === word.text);
  if (name === undefined) {
    scope.notes.wrong(
      'ignored',
      word.span,
      `no scheduler is "${shown(word.text)}": ${schedulerNames.join(', ')}`,
    );
    return;
  }
  draft.scheduler = name;
  scope.notes.kept(statement.span, '"scheduler"');
}

/** `sh-port` and its like count behind the scheduler they are for. */
function takeNamedFlag({ keyword, span }: Statement, draft: ServiceDraft, { notes }: Scope): void {
  const [scheduler, flag] = keyword.split('-');
  if (draft.scheduler !== scheduler) {
    notes.wrong('ignored', span, `"${keyword}" counts behind "lvs_sched ${scheduler}" only`);
    return;
  }
  draft.flags.add(flag === 'fallback' ? 'flag-1' : 'flag-2');
  notes.kept(span, '"schedulerFlags"');
}

function takeProtocol(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const word = firstWord(statement, 'TCP, UDP or SCTP', scope);
  if (!word) return;
  noteRest(statement, 1, scope);
  const value = (['tcp', 'udp', 'sctp'] as const).find((one) => one === word.text.toLowerCase());
  if (value === undefined) {
    scope.notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted TCP, UDP or SCTP`);
    return;
  }
  draft.protocol = { value, span: statement.span };
  scope.notes.kept(statement.span, 'the protocol of "address"');
}

function takeFamily(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const word = firstWord(statement, 'inet or inet6', scope);
  if (!word) return;
  const family = word.text === 'inet' ? 4 : word.text === 'inet6' ? 6 : undefined;
  if (family === undefined)
    scope.notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted inet or inet6`);
  else if (draft.family !== undefined && draft.family !== family)
    scope.notes.wrong('ignored', word.span, `the virtual server is of IPv${draft.family}`);
  else {
    draft.family = family;
    scope.notes.kept(statement.span, '"family"');
  }
}

function takePersistence(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const value =
    statement.words.length === 0
      ? defaultPersistenceSeconds
      : wholeNumber(statement, [1, longestPersistenceSeconds], scope);
  if (value === undefined) return;
  draft.persistenceSeconds = value;
  scope.notes.kept(statement.span, '"persistence"');
}

function takeGranularity(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const word = firstWord(statement, 'a netmask', scope);
  if (!word) return;
  noteRest(statement, 1, scope);
  const family = draft.family ?? (word.text.includes('.') ? 4 : 6);
  const length = /^\d+$/.test(word.text) ? Number(word.text) : undefined;
  const most = family === 4 ? 32 : 128;
  const prefix =
    length !== undefined ? (length >= 1 && length <= most ? length : undefined) : parseMask(word.text);
  if (prefix === undefined || (family === 6 && length === undefined)) {
    scope.notes.wrong('ignored', word.span, `"${shown(word.text)}": wanted a netmask of IPv${family}`);
    return;
  }
  draft.family ??= family;
  draft.granularity = { prefix, family };
  draft.persistenceSeconds ??= defaultPersistenceSeconds;
  scope.notes.kept(statement.span, family === 4 ? '"persistence.netmask"' : '"persistence.netmask6"');
}

function takeSorry(statement: Statement, draft: ServiceDraft, scope: Scope): void {
  const { keyword, span, words } = statement;
  const { notes } = scope;
  if (keyword === 'sorry_server') {
    const first = firstWord(statement, 'an address', scope);
    const endpoint = first && endpointIn(first, words[1], scope);
    noteRest(statement, 2, scope);
    if (!endpoint) return;
    draft.sorry = { span, endpoint, ...(draft.forwarding && { forwarding: draft.forwarding }) };
    notes.kept(span, '"sorryServer"');
    return;
  }
  if (!draft.sorry) {
    notes.wrong('ignored', span, `"${keyword}" counts behind "sorry_server" only`);
    return;
  }
  if (keyword === 'sorry_server_inhibit') {
    draft.sorry.inhibit = span;
    notes.ignored(span, 'a sorry server that is not needed leaves the service');
    return;
  }
  const forwarding = readForwarding(statement, scope);
  if (forwarding) draft.sorry.forwarding = forwarding;
}
