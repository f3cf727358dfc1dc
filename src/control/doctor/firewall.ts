import type { HostSurvey } from '../../dataplane/host-survey.ts';
import { type Address, addressToBytes, familyOf } from '../../model/address.ts';
import { serviceKey } from '../../model/service-id.ts';
import type { AddressServiceId } from '../../model/virtual-service.ts';
import { addressServices, type Finding, type Scene } from './finding.ts';

type Rule = HostSurvey['firewall']['rules'][number];
type Chain = HostSurvey['firewall']['chains'][number];
type Test = Rule['tests'][number];

/** Rules that somebody may rely on and that packets of virtual services do not meet. */
export function firewallFindings(scene: Scene): Finding[] {
  const ids = addressServices(scene).map(({ service }) => service.id);
  if (ids.length === 0) return [];
  const { chains, rules, unread } = scene.host.firewall;
  return [
    ...rules.flatMap((rule) => ruleFindings(rule, chains, ids)),
    ...chains.flatMap(policyFindings),
    ...(unread.length > 0 ? [unreadFinding(unread)] : []),
  ];
}

/** Packets of clients, and those of answers: what they pass on this host when no data plane takes them. */
const ways = {
  request: { address: 'daddr', port: 'dport', hooks: ['ingress', 'prerouting', 'input', 'forward'] },
  reply: { address: 'saddr', port: 'sport', hooks: ['forward', 'output', 'postrouting'] },
} as const;
/** That of `accept: false` (src/ha/keeper.ts), which is for what no data plane takes. */
const ownTable = 'headgate-vrrp';
/** As rules compare them. */
export const protocolNumbers = { tcp: 6n, udp: 17n, sctp: 132n } as const;

function ruleFindings(rule: Rule, chains: readonly Chain[], ids: readonly AddressServiceId[]): Finding[] {
  if (rule.family === 'arp' || rule.family === 'bridge' || rule.table === ownTable) return [];
  const hook = chains.find(
    ({ family, table, name }) => family === rule.family && table === rule.table && name === rule.chain,
  )?.hook;
  const met = ids.filter((id) =>
    Object.values(ways).some(
      (way) =>
        (hook === undefined || (way.hooks as readonly string[]).includes(hook)) && speaksOf(rule, way, id),
    ),
  );
  if (met.length === 0) return [];
  const { family, table, chain, handle, verdict, tests } = rule;
  const narrow = [...tests, ...(rule.oneOf ?? []).flat()].some(({ field }) => field === 'saddr');
  const harmless =
    verdict === undefined || verdict === 'accept' || verdict === 'return' || verdict === 'jump';
  return [
    {
      id: 'firewall-bypassed',
      severity: harmless && !narrow ? 'note' : 'risky',
      what: `rule ${handle} of chain ${family} ${table} ${chain} (${verdict ?? 'no verdict'}) speaks of ${met.map(serviceKey).join(', ')}`,
      why: 'the data plane takes these packets before the firewall, so the rule does nothing to them',
      next:
        harmless && !narrow
          ? `to look at it: nft -a list chain ${family} ${table} ${chain}`
          : 'filter before this host or on the real servers; then the rule can go:',
      ...(verdict === 'jump' ? {} : { fix: `nft delete rule ${family} ${table} ${chain} handle ${handle}` }),
    },
  ];
}

type Way = (typeof ways)[keyof typeof ways];

/** Whether a rule can be about a service, and says so by its address or its port. */
function speaksOf({ tests, oneOf = [[]], only }: Rule, way: Way, id: AddressServiceId): boolean {
  if (only !== undefined && only !== familyOf(id.address)) return false;
  return oneOf.some((more) => allSpeakOf([...tests, ...more], way, id));
}

function allSpeakOf(tests: readonly Test[], way: Way, id: AddressServiceId): boolean {
  const address = tests.filter(({ field }) => field === way.address);
  const port = tests.filter(({ field }) => field === way.port);
  const protocol = tests.filter(({ field }) => field === 'protocol');
  const number = numberOf(id.address);
  if (!address.every((test) => test.family === familyOf(id.address) && holds(test, number))) return false;
  if (id.port !== 0 && !port.every((test) => holds(test, BigInt(id.port)))) return false;
  if (!protocol.every((test) => holds(test, protocolNumbers[id.protocol]))) return false;
  return address.length > 0 || (port.length > 0 && id.port !== 0);
}

/** Whether a value passes a comparison. */
export const holds = ({ ranges, negated }: Test, value: bigint): boolean =>
  ranges.some(([first, last]) => first <= value && value <= last) !== negated;

/** An address as rules compare it. */
export const numberOf = (address: Address): bigint =>
  BigInt(`0x${Buffer.from(addressToBytes(address)).toString('hex')}`);

function policyFindings({ family, table, name, hook, drops }: Chain): Finding[] {
  if (!drops || (hook !== 'input' && hook !== 'prerouting' && hook !== 'ingress')) return [];
  return [
    {
      id: 'firewall-policy',
      severity: 'note',
      what: `chain ${family} ${table} ${name} drops what no rule accepts`,
      why: 'virtual services are open all the same: their packets do not pass it',
      next: `which services these are: headgate ipvsadm -L -n`,
    },
  ];
}

function unreadFinding(tables: readonly string[]): Finding {
  return {
    id: 'firewall-unread',
    severity: 'note',
    what: `the older iptables has tables (${tables.join(', ')}), whose rules are not read here`,
    why: 'packets of virtual services do not pass them',
    next: 'iptables-legacy-save shows them',
  };
}
