import type { HostSurvey } from '../dataplane/host-survey.ts';
import { addressFromBytes, familyOf } from '../model/address.ts';
import type { Question } from '../model/question.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Observed } from '../model/table.ts';
import type { DestinationId, FwmarkServiceId } from '../model/virtual-service.ts';
import { holds, numberOf, protocolNumbers } from './doctor/firewall.ts';

type Firewall = HostSurvey['firewall'];
type Rule = Firewall['rules'][number];

/** The firewall mark that a client's packets get: which, and who says so. */
export type Mark = { readonly value: number; readonly because: string };

/** What can be said of the mark of a packet: the mark; or why it is not known; neither where it gets none that counts. */
export type Marking = { readonly mark?: Mark; readonly unknown?: string };

/** The services of marks that a packet could be for. */
export const markedServices = ({ services }: Observed, { virtual }: Question): FwmarkServiceId[] =>
  services.flatMap(({ service: { id } }) =>
    id.kind === 'fwmark' && id.family === familyOf(virtual.address) ? [id] : [],
  );

/**
 * The mark of a client's packets by the rules of nftables, of which only comparisons of addresses, ports and protocol are known:
 * a rule counts that none of these keeps from taking the packet. Marks without a service are none.
 */
export function markingBy(question: Question, ids: readonly FwmarkServiceId[], firewall: Firewall): Marking {
  const rules = firewall.rules.filter((rule) => rule.mark !== undefined && mayTake(rule, question, firewall));
  const marks = [...new Set(rules.map(({ mark }) => mark))];
  const hasService = (mark: unknown) => mark === 'computed' || ids.some((id) => id.mark === mark);
  if (marks.some(hasService)) {
    const [rule] = rules;
    if (marks.length > 1 || rule!.mark === 'computed')
      return { unknown: rules.slice(0, 3).map(markText).join(', ') };
    return { mark: { value: rule!.mark as number, because: `${placeOf(rule!)} sets it` } };
  }
  if (firewall.unread.length > 0)
    return {
      unknown: `the older iptables has tables (${firewall.unread.join(', ')}), which are not read here`,
    };
  return {};
}

/** Why a packet that no service takes has no mark, for a table with services of marks. */
export const unmarkedText = (ids: readonly FwmarkServiceId[]): string =>
  `no rule of nftables gives this packet the mark of a service; there is ${ids.map(serviceKey).join(', ')}`;

const markText = (rule: Rule): string =>
  rule.mark === 'computed'
    ? `${placeOf(rule)} works the mark out from the packet`
    : `${placeOf(rule)} sets mark ${rule.mark}`;

const placeOf = ({ family, table, chain, handle }: Rule): string =>
  `rule ${handle} of chain ${family} ${table} ${chain}`;

/** Where a mark is set in time for the routing that brings the packet to its service. */
const hooks: readonly (string | undefined)[] = ['prerouting', 'ingress', undefined];

function mayTake(rule: Rule, question: Question, { chains }: Firewall): boolean {
  const { virtual, client, protocol } = question;
  if (rule.family === 'arp' || rule.family === 'bridge') return false;
  if (rule.only !== undefined && rule.only !== familyOf(virtual.address)) return false;
  const chain = chains.find(
    ({ family, table, name }) => family === rule.family && table === rule.table && name === rule.chain,
  );
  if (!hooks.includes(chain?.hook)) return false;
  const values = {
    saddr: numberOf(client.address),
    daddr: numberOf(virtual.address),
    sport: client.port === undefined ? undefined : BigInt(client.port),
    dport: BigInt(virtual.port),
    protocol: protocolNumbers[protocol],
  };
  const fits = (test: Rule['tests'][number]) => {
    const value = values[test.field];
    if (test.family !== undefined && test.family !== familyOf(virtual.address)) return false;
    return value === undefined || holds(test, value);
  };
  return (rule.oneOf ?? [[]]).some((more) => [...rule.tests, ...more].every(fits));
}

/** The mark in place of the virtual address of a template, in the first four bytes (ip_vs_sched_persist). */
export function markAddress({ mark, family }: FwmarkServiceId): DestinationId['address'] {
  const bytes = Buffer.alloc(family === 4 ? 4 : 16);
  bytes.writeUInt32BE(mark);
  return addressFromBytes(bytes);
}
