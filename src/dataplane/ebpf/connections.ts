import type { Address } from '../../model/address.ts';
import { among, type ConnectionFilter } from '../../model/connection-batches.ts';
import { sctpStateNames, tcpStateNames } from '../../model/connection-states.ts';
import { protocolName } from '../../model/service-id.ts';
import type { Connection } from '../../model/table.ts';
import { callEngine, callIdAt } from './call-ids.ts';
import { decodeAddress, encodeAddress, swapPort } from './encoding.ts';
import type { Instance } from './instance.ts';
import { numbers } from './layout.generated.ts';
import { mapRecords, type Records } from './records.ts';
import type { TableMaps } from './table-maps.ts';

const { WORD_STATE, WORD_LIVE, WORD_INACTIVE, WORD_TEMPLATE, WORD_SYNCED, TEMPLATE_ASSURED } =
  numbers.connection_word;

/** What a template gets whose time is up while it rules connections: RULER_GRACE_SECONDS of bpf/template.h. */
const rulerGraceSeconds = 60;

/** The connection table in this process's memory. */
export type ConnectionMaps = {
  readonly entries: Records<'connection'>;
  readonly details: Records<'connection_detail'>;
};

/** Maps the connection table, until both records are closed. */
export function mapConnections(instance: Instance): ConnectionMaps {
  return {
    entries: mapRecords(instance.map('connections'), 'connection'),
    details: mapRecords(instance.map('connection_details'), 'connection_detail'),
  };
}

/** Slot 0 is nobody's: it ends a chain. */
export const firstSlot = 1;
/** Slots that are looked at without a pause: a few milliseconds where all of them are taken. */
const slotsAtOnce = 4096;

/**
 * The live entries in the slots from `first` on that are asked for, straight from the table's memory, and the slot to go on from;
 * without one these were the last. What is not asked for costs two loads. As for packets, an entry whose time is up is there no
 * more, but for a template that rules connections: the sweeper has not given it another minute yet.
 */
export function readSlots(
  instance: Instance,
  { settings }: Pick<TableMaps, 'settings'>,
  { entries, details }: ConnectionMaps,
  first: number,
  filter: ConnectionFilter,
): { readonly found: readonly Connection[]; readonly next?: number } {
  const end = Math.min(first + slotsAtOnce, slotsBegun(instance, entries));
  const leftOf = remaining(instance, settings, { entries, details });
  const lastWords =
    filter.clients && new Set(filter.clients.map((one) => new Uint32Array(encodeAddress(one).buffer)[3]!));
  const decode = decoder(instance, { entries, details });
  const found: Connection[] = [];
  for (let slot = first; slot < end; slot++) {
    const word = entries.get(slot, 'word');
    if (!(word & WORD_LIVE)) continue;
    if (lastWords && !lastWords.has(entries.get(slot, 'client'))) continue;
    const leftMs = leftOf(slot, word);
    if (leftMs > 0) found.push(decode(slot, word, leftMs));
  }
  // Of IPv6 the last of four words was compared.
  return {
    found: among(found, filter),
    ...(end < slotsBegun(instance, entries) && { next: end }),
  };
}

/** Slots that were never used come after all others: the first of these. */
export const slotsBegun = ({ runtime }: Instance, { count }: ConnectionMaps['entries']): number =>
  Math.min(runtime.get(0, 'fresh'), count - 1) + 1;

/** Milliseconds that an entry has left; none where its time is up. */
export function remaining(
  instance: Instance,
  settings: TableMaps['settings'],
  { entries, details }: ConnectionMaps,
): (slot: number, word: number) => number {
  const hertz = settings.get(0, 'hz');
  const now = jiffiesNow(instance, hertz);
  return (slot, word) => {
    const own = entries.get(slot, 'timeout') - Math.max(0, (now - entries.get(slot, 'seen')) | 0);
    const goesOn = own <= 0 && (word & WORD_TEMPLATE) !== 0 && details.get(slot, 'ruled') > 0;
    return Math.round(((goesOn ? rulerGraceSeconds * hertz : own) * 1000) / hertz);
  };
}

/** What the records of a slot say. */
export function decoder(instance: Instance, { entries, details }: ConnectionMaps) {
  const addresses = new Map<number, Address>();
  const addressOf = (slot: number, side: Side, family: number): Address => {
    const word = entries.get(slot, side);
    const known = family === 4 && side !== 'client' ? addresses.get(word) : undefined;
    if (known !== undefined) return known;
    const bytes = new Uint8Array(16);
    const words = new Uint32Array(bytes.buffer);
    if (family === 6) for (let i = 0; i < 3; i++) words[i] = details.get(slot, `${side}_head`, i);
    words[3] = word;
    const address = decodeAddress(bytes, family);
    if (family === 4 && side !== 'client') addresses.set(word, address);
    return address;
  };
  return (slot: number, word: number, expiresInMs: number): Connection => {
    const family = entries.get(slot, 'family');
    const isTemplate = (word & WORD_TEMPLATE) !== 0;
    const at = (side: Side) => ({
      address: addressOf(slot, side, family),
      port: swapPort(entries.get(slot, `${side}_port`)),
    });
    // In place of its client's port, which it has none of, a template says whether it is of a call.
    const call =
      isTemplate && entries.get(slot, 'client_port') !== 0
        ? callIdAt(instance.map('call_ids'), slot)
        : undefined;
    const client = at('client');
    return {
      protocol: protocolName(entries.get(slot, 'protocol')) ?? 'ip',
      client: isTemplate ? { ...client, port: 0 } : client,
      virtual: at('virtual'),
      destination: at('real'),
      state: isTemplate ? templateState(word) : stateName(word & WORD_STATE),
      active: !isTemplate && (word & WORD_INACTIVE) === 0,
      template: isTemplate,
      ...(call && { engine: { name: callEngine, data: Buffer.from(call).toString('latin1') } }),
      ...((word & WORD_SYNCED) !== 0 && { synced: true as const }),
      expiresInMs,
    };
  };
}

type Side = 'client' | 'virtual' | 'real';

function stateName(state: number): string {
  const { STATE_UDP, STATE_SCTP_NONE } = numbers.state;
  if (state === STATE_UDP) return 'UDP';
  return sctpStateNames[state - STATE_SCTP_NONE] ?? tcpStateNames[state] ?? 'NONE';
}

/** ip_vs_state_name. */
function templateState(word: number): string {
  return (word & WORD_STATE) === TEMPLATE_ASSURED ? 'ASSURED' : 'NONE';
}

/** The kernel's jiffies, from the moment the sweeper last noted them and the clock since. */
export function jiffiesNow({ runtime }: Instance, hertz: number): number {
  const elapsed = process.hrtime.bigint() - runtime.getBig(0, 'tick_ns');
  return (runtime.get(0, 'tick_jiffies') + Number((elapsed * BigInt(hertz)) / 1_000_000_000n)) >>> 0;
}
