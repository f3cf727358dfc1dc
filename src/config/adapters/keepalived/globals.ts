import { parseAddress } from '../../../model/address.ts';
import { formatDurationMs } from '../../quantities.ts';
import type { TreeNode } from '../../tree.ts';
import { interfaceIn, shown } from './addresses.ts';
import type { MailSettings } from './alerts.ts';
import type { Statement } from './blocks.ts';
import { ignoreAll, mapAt, type Scope, scalarAt } from './scope.ts';
import { firstWord, noteRest, numberIn, timeMs, wholeNumber, yesOrNo } from './values.ts';
import type { Word } from './words.ts';

/** What `global_defs` says. */
export type Globals = {
  timeouts: Record<string, TreeNode>;
  own?: TreeNode;
  sync?: TreeNode;
  scriptUser?: readonly string[];
  scriptSecurity: boolean;
  readonly mail: MailSettings;
  /** The interface of static addresses that name none: keepalived's is eth0. */
  usualInterface: string;
  /** The pipe that changes of VRRP are written to. */
  pipe?: TreeNode;
  vrrp: VrrpDefaults;
};

/** What instances have that say nothing themselves. */
export type VrrpDefaults = {
  version?: number;
  repeat?: number;
  delayMs?: number;
  refreshMs?: number;
  strict?: boolean;
  fewAnnouncements?: boolean;
};

export const newGlobals = (): Globals => ({
  timeouts: {},
  scriptSecurity: false,
  usualInterface: 'eth0',
  mail: { to: [] },
  vrrp: {},
});

/** Reads a block `global_defs`. */
export function readGlobals(statement: Statement, globals: Globals, scope: Scope): void {
  scope.notes.kept(statement.span, 'what holds for all');
  for (const inner of statement.statements) {
    if (takeVrrpDefault(inner, globals.vrrp, scope)) continue;
    takeGlobal(inner, globals, scope);
  }
}

function takeGlobal(statement: Statement, globals: Globals, scope: Scope): void {
  const { keyword, span, words, values } = statement;
  const { notes } = scope;
  switch (keyword) {
    case 'lvs_timeouts':
      takeTimeouts(statement, globals, scope);
      return;
    case 'lvs_flush':
      globals.own = scalarAt(span, true);
      notes.changed(span, '"own": services that are not described here are deleted, at any time');
      return;
    case 'lvs_sync_daemon':
    case 'lvs_sync_daemon_interface':
      takeSync(statement, globals, scope);
      return;
    case 'script_user':
      globals.scriptUser = words.map(({ text }) => text);
      notes.kept(span, 'whom checks of type script, scripts of VRRP and notify programs run as');
      return;
    case 'enable_script_security':
      globals.scriptSecurity = true;
      notes.changed(span, 'programs are run without a shell, always');
      return;
    case 'smtp_server':
      takeMailServer(statement, globals, scope);
      return;
    case 'notification_email_from':
      globals.mail.from = firstWord(statement, 'an address', scope);
      notes.kept(span, '"alerts.mail.from"');
      return;
    case 'notification_email':
      for (const value of values) {
        globals.mail.to.push(...value.words);
        notes.kept(value.span, '"alerts.mail.to"');
      }
      notes.kept(span, '"alerts.mail.to"');
      return;
    case 'smtp_alert':
    case 'smtp_alert_checker':
    case 'smtp_alert_vrrp': {
      const isWanted = yesOrNo(statement, scope) !== false;
      if (keyword !== 'smtp_alert_vrrp') globals.mail.off = isWanted ? undefined : span;
      if (keyword !== 'smtp_alert_checker') globals.mail.vrrp = isWanted;
      notes.kept(span, '"alerts"');
      return;
    }
    case 'notify_fifo':
    case 'vrrp_notify_fifo': {
      const path = firstWord(statement, 'a path', scope);
      if (!path?.text.startsWith('/')) notes.ignored(span, 'the path of a pipe begins with "/"');
      else globals.pipe = scalarAt(path.span, path.text);
      if (words.length > 1) notes.changed(words[1]!.span, 'the pipe belongs to the user of the daemon');
      if (keyword === 'notify_fifo') notes.changed(span, '"failover.pipe": it is told of VRRP only');
      else notes.kept(span, '"failover.pipe"');
      return;
    }
    case 'smtp_connect_timeout':
      notes.changed(span, 'a mail has a time of its own');
      return;
    case 'router_id':
      notes.changed(span, 'what is told of this director has the name of its host');
      return;
    case 'default_interface':
      globals.usualInterface = firstWord(statement, 'an interface', scope)?.text ?? 'eth0';
      notes.kept(span, 'the interface of static addresses');
      return;
    case 'include_check':
      notes.kept(span, 'how includes are checked');
      return;
    default:
      ignoreAll([statement], reasonFor(keyword), scope);
  }
}

function takeMailServer(statement: Statement, { mail }: Globals, scope: Scope): void {
  mail.server = firstWord(statement, 'a host', scope);
  mail.port = statement.words[1];
  scope.notes.kept(statement.span, '"alerts.mail.server"');
}

const reasons: readonly (readonly [RegExp, string])[] = [
  [/^smtp_|email/, '"alerts" cannot say it'],
  [/snmp|traps|dbus/, 'neither SNMP nor D-Bus is spoken'],
  [/fifo_script/, 'whoever reads the pipe is started by the host'],
  [/fifo/, 'what becomes of services is told by "headgate events"'],
  [/nftables|iptables|ipsets/, 'no rules of a firewall are needed'],
  [/auto_priority/, 'its processes have the priority systemd gives them'],
  [
    /process_name|_priority$|_no_swap|_affinity|_rt_|rlimit|umask|core|supplementary/,
    'systemd sets it: see packaging',
  ],
  [/rcv_bufs|rx_bufs/, 'buffers have the size they need'],
  [/^(startup|shutdown)_script/, 'systemd runs it: ExecStartPre, ExecStopPost'],
  [/^reload_|^config_save|^tmp_config/, '"headgate reload" takes a changed file, once it is sound'],
  [/^lvs_flush_on/, 'services stay when the daemon ends: "headgate clean-up" removes them'],
  [/net_namespace|namespace_with|^instance$|pid_dir/, 'each network namespace has a director of its own'],
  [/linkbeat/, 'the kernel tells of every link'],
  [/child_wait/, 'it ends when its work is done'],
  [/notify_priority_changes/, 'only changes of the state are told'],
  [
    /log_all_failures|rs_init_notifies/,
    'every result that changes a state is an event: see "headgate events"',
  ],
  [/^vrrp_|garp|vmac|^v3_|advert|vrids|igmp|interface/, 'VRRP cannot say it here'],
  [/dump_file|file_location|json_version|use_instance/, '"headgate status -o json" shows the state'],
  [/iproute/, 'tables of routes are said by number'],
];

/** Why a keyword of `global_defs`, or one that may stand there as well, is not said. */
export function reasonFor(keyword: string): string {
  const reason = reasons.find(([form]) => form.test(keyword))?.[1];
  return reason ?? `no configuration can say "${keyword}"`;
}

const timeoutKeys: Readonly<Record<string, string>> = { tcp: 'tcp', tcpfin: 'tcpFin', udp: 'udp' };

function takeTimeouts({ words, span }: Statement, globals: Globals, scope: Scope): void {
  for (let i = 0; i < words.length; i += 2) {
    const [word, value] = [words[i]!, words[i + 1]];
    const key = Object.hasOwn(timeoutKeys, word.text) ? timeoutKeys[word.text] : undefined;
    if (key === undefined || !value) {
      scope.notes.wrong(
        'ignored',
        word.span,
        `"${shown(word.text)}": wanted tcp, tcpfin or udp with seconds`,
      );
      return;
    }
    const seconds = numberIn(value, [1, 2_147_483], scope);
    if (seconds !== undefined) globals.timeouts[key] = scalarAt(value.span, formatDurationMs(seconds * 1000));
  }
  scope.notes.kept(span, '"timeouts"');
}

/** `lvs_sync_daemon IF [[inst] VI] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS]`. */
export function takeSync(
  statement: Statement,
  globals: Globals,
  scope: Scope,
  role: 'auto' | 'both' = 'both',
): void {
  const { notes } = scope;
  const first = firstWord(statement, 'an interface', scope);
  if (!first) return;
  const name = interfaceIn(first, scope);
  if (name === undefined) return;
  const keys: Record<string, TreeNode> = { interface: scalarAt(first.span, name) };
  const bounds = { id: [0, 255], maxlen: [68, 65_507], port: [1, 65_535], ttl: [1, 255] } as const;
  const { words } = statement;
  let instance: Word | undefined;
  for (let i = 1; i < words.length; i++) {
    const word = words[i]!;
    const value = words[i + 1];
    if (Object.hasOwn(bounds, word.text) && value) {
      const number = numberIn(value, bounds[word.text as keyof typeof bounds], scope);
      if (number !== undefined)
        keys[word.text === 'maxlen' ? 'maxLength' : word.text] = scalarAt(value.span, number);
      i++;
    } else if (word.text === 'group' && value) {
      const address = parseAddress(value.text);
      if (address !== undefined) keys.group = scalarAt(value.span, address);
      else notes.wrong('ignored', value.span, `"${shown(value.text)}": wanted an address`);
      i++;
    } else if (word.text !== 'inst' && !instance) instance = word;
    else if (word.text !== 'inst')
      notes.wrong('ignored', word.span, `"${shown(word.text)}" is not known here`);
  }
  if (!instance && role === 'both') keys.role = scalarAt(statement.span, role);
  if (instance) notes.changed(instance.span, 'the role is that of all VRRP instances together');
  globals.sync ??= mapAt(statement.span, keys);
  notes.kept(statement.span, '"failover.connectionSync"');
}

/** Takes a keyword that instances of VRRP have as default; false where it is none. */
function takeVrrpDefault(statement: Statement, defaults: VrrpDefaults, scope: Scope): boolean {
  const set = <Key extends keyof VrrpDefaults>(key: Key, value: VrrpDefaults[Key] | undefined) => {
    if (value !== undefined) defaults[key] = value;
  };
  switch (statement.keyword) {
    case 'vrrp_version':
      set('version', wholeNumber(statement, [2, 3], scope));
      break;
    case 'vrrp_garp_master_repeat':
      set('repeat', wholeNumber(statement, [0, 4_294_967_295], scope));
      break;
    case 'vrrp_garp_master_delay':
      set('delayMs', timeMs(statement, 0, scope));
      break;
    case 'vrrp_garp_master_refresh':
      set('refreshMs', timeMs(statement, 0, scope));
      break;
    case 'vrrp_min_garp':
      set('fewAnnouncements', yesOrNo(statement, scope));
      break;
    case 'vrrp_strict':
      defaults.strict = true;
      noteRest(statement, 0, scope);
      break;
    default:
      return false;
  }
  scope.notes.kept(statement.span, 'instances of VRRP have it');
  return true;
}
