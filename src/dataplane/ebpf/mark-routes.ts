import type { Family } from '../../model/address.ts';
import { protocolName, protocolNumbers } from '../../model/service-id.ts';
import type { ServiceId } from '../../model/virtual-service.ts';
import { findLink, type Link, setLink } from '../../sys/netlink/link.ts';
import { setNeighbour } from '../../sys/netlink/neighbour.ts';
import { addRoute, deleteRoute, listRoutes, tables } from '../../sys/netlink/route.ts';
import { addRule, deleteRule, listRules, type Rule } from '../../sys/netlink/rule.ts';
import { type Netlink, withNetlink } from '../../sys/netlink/socket.ts';
import { readSysctl, writeSysctl } from '../../sys/sysctl.ts';
import type { PlaneSurvey } from '../host-survey.ts';

/*
 * How packets with a firewall mark come to the program a second time, after the firewall: rules lead them to a table of
 * our own, whose one route goes through the internal pair. They stand at priority 0 before the rule for this
 * host's own addresses, so that a virtual address may be one of those. That rule is not moved elsewhere: the same one is
 * added behind ours and the first one deleted, so that once ours are gone everything is as it was.
 *
 * The rules are told from others by the protocol number in them, whoever made them: a command that was cut off leaves
 * nothing that the next one does not find.
 */

/** What a firewall-mark service is found by. */
export type Mark = { readonly mark: number; readonly family: Family };

/** The routing table of the one route, and who "made" it and the rules: shown by `ip rule` and `ip route`. */
const markTable = 18_503;
const markProtocol = 72;

/** The end of the internal pair that marked packets are routed to, and the one at which they arrive. */
const markDevice = 'hg1';
const returnDevice = 'hg0';

/** Address of the end where packets arrive; the program knows it too (bring_home in bpf/mark.h). */
const returnMac = '02:48:47:00:00:00';

/** Transport protocols of services. ICMP errors need no mark, and all else is none of the services' business. */
const protocols = Object.values(protocolNumbers);

/** Gateways that are nobody: the IPv4 dummy address (RFC 7600) and one of the link's own. */
const gateways = { ipv4: '192.0.0.8', ipv6: 'fe80::8' } as const;

const first = 0;
const families = ['ipv4', 'ipv6'] as const;
type FamilyName = (typeof families)[number];
const nameOf = (family: Family): FamilyName => (family === 4 ? 'ipv4' : 'ipv6');

/** The rules that should stand before the one for local addresses, in order. */
function wantedRules(marks: readonly Mark[], family: FamilyName): Rule[] {
  const own = marks.filter((mark) => nameOf(mark.family) === family).map(({ mark }) => mark);
  if (own.length === 0) return [];
  const common = { family, priority: first, protocol: markProtocol } as const;
  return [
    { ...common, table: tables.local, inInterface: returnDevice },
    ...own.flatMap((mark) =>
      protocols.map((transport): Rule => ({ ...common, table: markTable, mark, transport })),
    ),
  ];
}

const keyOf = ({ table, mark, transport, inInterface }: Rule): string =>
  [table, mark ?? '', transport ?? '', inInterface ?? ''].join(' ');

const isOurs = ({ protocol }: Rule): boolean => protocol === markProtocol;
/** The rule for this host's own addresses, where the kernel puts it. */
const isLocalRule = (rule: Rule): boolean =>
  rule.priority === first &&
  rule.table === tables.local &&
  !isOurs(rule) &&
  rule.mark === undefined &&
  rule.source === undefined &&
  rule.destination === undefined &&
  rule.inInterface === undefined;

/** Brings rules and routes in line with the marks of the services there are. The pair must be there. */
export function arrangeMarks(marks: readonly Mark[]): void {
  withNetlink({}, (netlink) => {
    for (const family of families) {
      const wanted = wantedRules(marks, family);
      if (wanted.length > 0) ensureRoute(netlink, family);
      arrangeRules(netlink, family, wanted);
      if (wanted.length === 0) removeRoute(netlink, family);
    }
  });
}

/** Removes every rule and route of ours. */
export const removeMarks = (): void => arrangeMarks([]);

function arrangeRules(netlink: Netlink, family: FamilyName, wanted: readonly Rule[]): void {
  const before = listRules(netlink, family);
  const keys = new Set(wanted.map(keyOf));
  const there = new Set<string>();
  for (const rule of before.filter(isOurs)) {
    // One that is there twice was added by two commands at once.
    if (keys.has(keyOf(rule)) && !there.has(keyOf(rule))) there.add(keyOf(rule));
    else deleteRule(netlink, rule);
  }
  for (const rule of wanted) if (!there.has(keyOf(rule))) addRule(netlink, rule);
  if (wanted.length > 0) putLocalLast(netlink, family);
}

/** The rule for local addresses comes to stand behind ours; there is always one. */
function putLocalLast(netlink: Netlink, family: FamilyName): void {
  const rules = listRules(netlink, family).filter(({ priority }) => priority === first);
  const local = rules.filter(isLocalRule);
  const last = rules.findLastIndex(isOurs);
  const behind = rules.slice(last + 1).some(isLocalRule);
  // Rules of others at the same priority would change places with it; they stay as they are.
  if (local.length === 0 || rules.some((rule) => !isOurs(rule) && !isLocalRule(rule))) return;
  if (!behind) addRule(netlink, local[0]!, { again: true });
  for (let extra = local.length - (behind ? 1 : 0); extra > 0; extra--) deleteRule(netlink, local[0]!);
}

/** The marks of some services. */
export function marksOf(ids: readonly ServiceId[]): Mark[] {
  return ids.flatMap((id) => (id.kind === 'fwmark' ? [{ mark: id.mark, family: id.family }] : []));
}

/** How things stand, for a diagnosis: rules that are not there, and whether local addresses come before marks. */
export function surveyMarks(marks: readonly Mark[]): NonNullable<PlaneSurvey['marks']> {
  return withNetlink({}, (netlink) => {
    const missing: string[] = [];
    const localFirst: Family[] = [];
    for (const family of families) {
      const wanted = wantedRules(marks, family);
      if (wanted.length === 0) continue;
      const rules = listRules(netlink, family);
      const there = new Set(rules.filter(isOurs).map(keyOf));
      const isRouted = listRoutes(netlink, family).some(({ table }) => table === markTable);
      missing.push(...wanted.filter((rule) => !isRouted || !there.has(keyOf(rule))).map(ruleText));
      const local = rules.findIndex(isLocalRule);
      if (local >= 0 && local < rules.findLastIndex(isOurs)) localFirst.push(family === 'ipv4' ? 4 : 6);
    }
    return { missing, localFirst };
  });
}

/** A rule as `ip rule` writes it. */
function ruleText({ family, mark, transport, inInterface, table }: Rule): string {
  const what = inInterface
    ? `iif ${inInterface} lookup local`
    : `fwmark 0x${mark!.toString(16)} ipproto ${protocolName(transport!)} lookup ${table}`;
  return family === 'ipv6' ? `${what} (IPv6)` : what;
}

function ensureRoute(netlink: Netlink, family: FamilyName): void {
  const [out, back] = [findLink(netlink, markDevice), findLink(netlink, returnDevice)];
  if (!out || !back) throw new Error(`route marked packets: there is no "${markDevice}"`);
  prepareDevices(family);
  if (back.mac !== returnMac) setLink(netlink, back.index, { mac: returnMac });
  const gateway = gateways[family];
  // They arrive at the other end as frames for that one.
  setNeighbour(netlink, out.index, { address: gateway, mac: returnMac });
  if (hasRoute(netlink, family, out)) return;
  addRoute(
    netlink,
    {
      destination: 'default',
      gateway,
      index: out.index,
      table: markTable,
      onLink: true,
      protocol: markProtocol,
    },
    { replace: true },
  );
}

const hasRoute = (netlink: Netlink, family: FamilyName, { index }: Link): boolean =>
  listRoutes(netlink, family).some((route) => route.table === markTable && route.index === index);

function removeRoute(netlink: Netlink, family: FamilyName): void {
  for (const { table, destination } of listRoutes(netlink, family))
    if (table === markTable) deleteRoute(netlink, { destination, table, family });
}

/** What goes on to this host comes in by the pair, while the way to its source leads elsewhere. */
function prepareDevices(family: FamilyName): void {
  if (family === 'ipv4') {
    set(`net.ipv4.conf.${returnDevice}.rp_filter`, '0');
    set(`net.ipv4.conf.${returnDevice}.accept_local`, '1');
    return;
  }
  for (const device of [markDevice, returnDevice]) {
    // No addresses of its own, which would be announced.
    set(`net.ipv6.conf.${device}.addr_gen_mode`, '1');
    set(`net.ipv6.conf.${device}.accept_ra`, '0');
    set(`net.ipv6.conf.${device}.disable_ipv6`, '0');
  }
}

function set(name: string, value: string): void {
  const now = readSysctl(name);
  if (now !== undefined && now !== value) writeSysctl(name, value);
}
