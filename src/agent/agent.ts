import { type Address, familyOf } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { hasCapability } from '../sys/capability.ts';
import { listAddresses } from '../sys/netlink/address.ts';
import { findLink } from '../sys/netlink/link.ts';
import { type Netlink, NetlinkError, openNetlink } from '../sys/netlink/socket.ts';
import { readSysctl } from '../sys/sysctl.ts';
import { type Outcomes, readOutcomes } from './decapsulation.ts';
import { factsOf } from './facts.ts';
import { refuseUnreachableGateway } from './gateway.ts';
import type { Intent } from './intent.ts';
import { observeHost, readResource, writeResource } from './kernel.ts';
import { removeLeftOfAgents } from './left.ts';
import { type Entry, entryFor, findEntry, isMet, obsoleteEntries, recordVersion, undoing } from './record.ts';
import { describeResource, type Fact, type State } from './resource.ts';
import { lookAtRecord, openStore, type Store } from './store.ts';

/** One thing that was changed, or, with `wanted`, one that was left because somebody else has changed it meanwhile. */
export type Change = {
  readonly what: string;
  readonly before: string;
  readonly after: string;
  /** What it would have been put back to. */
  readonly wanted?: string;
};

/** Told of each change as soon as it is made. */
export type Report = (change: Change) => void;

/** How things stand. */
export type AgentStatus = {
  readonly intent: Intent;
  readonly changes: readonly {
    readonly what: string;
    readonly before: string;
    readonly set: string;
    /** Absent: its interface or route is gone. */
    readonly now?: string;
  }[];
  /** Packets since the tunnel's end was put in place; absent where there is none. */
  readonly outcomes?: Outcomes;
};

/**
 * Makes this network namespace what `intent` says: what is right already stays, what an earlier set-up changed and this
 * one does not need is put back. Rejects with a HeadgateError; what was changed by then is recorded, so that the next
 * `agentUp` goes on and `agentDown` undoes it.
 */
export async function agentUp(intent: Intent, report: Report): Promise<void> {
  refuseWithoutPrivilege('set up this host');
  removeLeftOfAgents();
  await withStore(async (store, netlink) => {
    const record = store.read();
    refuseImpossible(intent, netlink);
    for (const gateway of intent.gateways) await refuseUnreachableGateway(netlink, gateway);
    const facts = factsOf(intent, observeHost(netlink));
    let entries = record?.entries ?? [];
    const save = (changed: readonly Entry[]) => {
      entries = changed;
      store.write({ version: recordVersion, intent, entries });
    };
    save(entries);
    for (const fact of facts) establish(netlink, fact, entries, save, report);
    undo(netlink, obsoleteEntries(entries, facts), entries, save, report);
  });
}

/** Puts back what the agent changed and nobody else has changed since. Resolves to whether there was anything set up. */
export async function agentDown(report: Report): Promise<boolean> {
  refuseWithoutPrivilege('restore this host');
  return await withStore(async (store, netlink) => {
    const record = store.read();
    if (!record) return false;
    const save = (entries: readonly Entry[]) => store.write({ ...record, entries });
    undo(netlink, [...record.entries].reverse(), record.entries, save, report);
    store.write(undefined);
    return true;
  });
}

/** What is set up in this network namespace and whether it is still so; undefined: nothing. */
export function agentStatus(): AgentStatus | undefined {
  refuseWithoutPrivilege('look at this host');
  const record = lookAtRecord();
  if (!record) return undefined;
  const netlink = openNetlink();
  try {
    const outcomes = readOutcomes();
    return {
      intent: record.intent,
      ...(outcomes && { outcomes }),
      changes: record.entries.map(({ resource, before, set }) => {
        const now = readResource(netlink, resource)?.text;
        const what = describeResource(resource);
        return { what, before: before.text, set: set.at(-1)!, ...(now === undefined ? {} : { now }) };
      }),
    };
  } finally {
    netlink.close();
  }
}

async function withStore<T>(work: (store: Store, netlink: Netlink) => Promise<T>): Promise<T> {
  const store = await openStore();
  const netlink = openNetlink();
  try {
    return await work(store, netlink);
  } finally {
    netlink.close();
    store.close();
  }
}

function establish(
  netlink: Netlink,
  fact: Fact,
  entries: readonly Entry[],
  save: (entries: readonly Entry[]) => void,
  report: Report,
): void {
  const { resource, want } = fact;
  const current = readResource(netlink, resource);
  if (current === undefined || isMet(fact, current.text)) return;
  const earlier = findEntry(entries, resource);
  const entry = entryFor(fact, current, earlier);
  save(earlier ? entries.map((one) => (one === earlier ? entry : one)) : [...entries, entry]);
  attempt(netlink, entry, { text: want });
  report({ what: describeResource(resource), before: current.text, after: want });
}

/** Undoes `doomed`, in that order, each taken off the record once it is undone. */
function undo(
  netlink: Netlink,
  doomed: readonly Entry[],
  all: readonly Entry[],
  save: (entries: readonly Entry[]) => void,
  report: Report,
): void {
  let left = all;
  for (const entry of doomed) {
    const { resource, before } = entry;
    const what = describeResource(resource);
    const current = readResource(netlink, resource)?.text;
    const verdict = undoing(entry, current);
    if (verdict === 'restore') {
      attempt(netlink, entry, before);
      report({ what, before: current!, after: before.text });
    } else if (verdict === 'leave') {
      report({ what, before: current!, after: current!, wanted: before.text });
    }
    left = left.filter((one) => one !== entry);
    save(left);
  }
}

function attempt(netlink: Netlink, { resource }: Entry, state: State): void {
  try {
    writeResource(netlink, resource, state);
  } catch (error) {
    if (error instanceof HeadgateError) throw error;
    const detail = error instanceof NetlinkError ? (error.kernelText ?? error.message) : String(error);
    throw new HeadgateError(
      'HG_AGENT_REFUSED',
      `Cannot change ${describeResource(resource)} to "${state.text}": ${detail.replace(/^Error: /, '')}`,
      { cause: error },
    );
  }
}

function refuseWithoutPrivilege(action: string): void {
  if (hasCapability('net_admin')) return;
  throw new HeadgateError('HG_NOT_ROOT', `Cannot ${action}: this user may not administer the network`);
}

/** What makes the set-up impossible is said before anything is changed. */
function refuseImpossible(intent: Intent, netlink: Netlink): void {
  if (intent.outgoing !== undefined && !findLink(netlink, intent.outgoing))
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot masquerade through "${intent.outgoing}": there is no such interface`,
      { hint: 'headgate agent up --director --masquerade-outgoing INTERFACE; "ip link" lists them' },
    );
  const loopback = findLink(netlink, 'lo')?.index;
  for (const vip of intent.role === 'director' ? [] : intent.vips) {
    refuseWithoutFamily(vip);
    const held = listAddresses(netlink).find(({ address, index }) => address === vip && index !== loopback);
    if (!held) continue;
    const device = findLink(netlink, held.index)?.name ?? held.index;
    throw new HeadgateError(
      'HG_AGENT_VIP',
      `Cannot take "${vip}" as a real server: wanted it on "lo" or nowhere, found it on "${device}"`,
      { hint: `is this the director? Otherwise: ip address del ${vip}/${held.prefixLength} dev ${device}` },
    );
  }
}

function refuseWithoutFamily(vip: Address): void {
  if (familyOf(vip) === 4) return;
  const off = readSysctl('net.ipv6.conf.lo.disable_ipv6');
  if (off === '0') return;
  const why = off === undefined ? 'this kernel has no IPv6' : 'IPv6 is off on "lo"';
  throw new HeadgateError('HG_AGENT_VIP', `Cannot hold "${vip}": ${why}`, {
    hint: 'leave the address out, or switch IPv6 on: net.ipv6.conf.all.disable_ipv6 = 0',
  });
}
