import { setImmediate } from 'node:timers/promises';
import type { ConnectionCount } from '../../model/connection-batches.ts';
import { type ConnectionMaps, decoder, firstSlot, remaining, slotsBegun } from './connections.ts';
import type { Instance } from './instance.ts';
import { numbers } from './layout.generated.ts';
import type { TableMaps } from './table-maps.ts';

const { WORD_STATE, WORD_LIVE, WORD_INACTIVE, WORD_TEMPLATE } = numbers.connection_word;

/** What is counted apart beside who a connection is with. */
const told = WORD_STATE | WORD_INACTIVE | WORD_TEMPLATE;

/** Slots that are looked at before others have their turn. */
const atOnce = 32_768;

type Count = { -readonly [Name in keyof ConnectionCount]: ConnectionCount[Name] };

/**
 * How many live entries are alike, straight from the table's memory: only the first of each kind is put into words, so that a
 * million cost as much as reading their numbers.
 */
export async function countConnections(
  instance: Instance,
  { settings }: Pick<TableMaps, 'settings'>,
  maps: ConnectionMaps,
): Promise<readonly ConnectionCount[]> {
  const { entries, details } = maps;
  const leftOf = remaining(instance, settings, maps);
  const decode = decoder(instance, maps);
  /** By virtual port and destination, and then by how it stands and the virtual address. */
  const counts = new Map<number, Map<number | string, Count>>();
  const end = slotsBegun(instance, entries);
  for (let slot = firstSlot; slot < end; slot++) {
    if (slot % atOnce === 0) await setImmediate();
    const word = entries.get(slot, 'word');
    if (!(word & WORD_LIVE)) continue;
    const leftMs = leftOf(slot, word);
    if (leftMs <= 0) continue;
    const place = entries.get(slot, 'virtual_port') * 2 ** 32 + entries.get(slot, 'destination');
    const kind = kindOf(slot, word & told);
    const own = counts.get(place) ?? new Map<number | string, Count>();
    if (own.size === 0) counts.set(place, own);
    const known = own.get(kind);
    if (known) known.count++;
    else own.set(kind, { like: decode(slot, word, leftMs), count: 1 });
  }
  return [...counts.values()].flatMap((own) => [...own.values()]);

  function kindOf(slot: number, state: number): number | string {
    // 13 bits of the word and 8 of the protocol above 32 of the address: a number that is exact.
    const kind = (state * 256 + entries.get(slot, 'protocol')) * 2 ** 32 + entries.get(slot, 'virtual');
    if (entries.get(slot, 'family') === 4) return kind;
    const head = (i: number) => details.get(slot, 'virtual_head', i);
    return `${kind} ${head(0)} ${head(1)} ${head(2)}`;
  }
}
