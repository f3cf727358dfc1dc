import { dhTable } from '../../model/schedulers/dh.ts';
import { shTable } from '../../model/schedulers/sh.ts';
import { wrrParameters } from '../../model/schedulers/wrr.ts';
import type { Refusal } from '../../model/table.ts';
import type { ListedService } from './listing.ts';
import type { Records } from './records.ts';

export type SchedulingMaps = {
  readonly services: Records<'service'>;
  readonly destinations: Records<'destination'>;
  readonly hashTables: Records<'hash_table'>;
};

/** Gives a service what its scheduler needs beside the list: a hash table of its own. */
export function equipScheduler(maps: SchedulingMaps, entry: ListedService): Refusal | undefined {
  const { services, hashTables } = maps;
  const { scheduler } = entry.service;
  services.setBig(entry.slot, 'turn', 0n);
  services.set(entry.slot, 'table', 0);
  if (scheduler === 'dh' || scheduler === 'sh') {
    const number = freeTable(maps);
    if (number === undefined) {
      return { reason: 'table-full', detail: `there is room for ${hashTables.count} services with dh or sh` };
    }
    fillTable(maps, entry, number);
    services.set(entry.slot, 'table', number + 1);
  }
  rescheduleDestinations(maps, entry);
  return undefined;
}

function freeTable({ services, hashTables }: SchedulingMaps): number | undefined {
  const taken = new Set<number>();
  for (let slot = 1; slot < services.count; slot++) taken.add(services.get(slot, 'table'));
  for (let number = 0; number < hashTables.count; number++) if (!taken.has(number + 1)) return number;
  return undefined;
}

/**
 * After a destination came, went or was edited: the wheel of wrr starts again at the head of the list, on the step it
 * was at (ip_vs_wrr_dest_changed), and hash tables are dealt anew.
 */
export function rescheduleDestinations(maps: SchedulingMaps, entry: ListedService): void {
  const { services } = maps;
  const { slot } = entry;
  if (entry.service.scheduler === 'wrr') {
    const { step, top } = wrrParameters(
      [...entry.destinations.values()].map(({ destination }) => destination),
    );
    services.set(slot, 'wheel_step', step);
    services.set(slot, 'wheel_top', top);
    const rung = Number(services.getBig(slot, 'turn') >> 32n);
    const next = rung > top || rung === 0 ? top : step > 1 ? rung - (rung % step) + 1 : rung;
    services.setBig(slot, 'turn', BigInt(next) << 32n);
  }
  const table = services.get(slot, 'table');
  if (table) fillTable(maps, entry, table - 1);
}

/** Deals the 256 buckets to the destinations, newest first as in the kernel's list. */
function fillTable({ hashTables }: SchedulingMaps, entry: ListedService, number: number): void {
  const listed = [...entry.destinations.values()].reverse();
  const deal = entry.service.scheduler === 'dh' ? dhTable : shTable;
  deal(listed.map(({ destination }) => destination)).forEach((place, bucket) => {
    hashTables.set(number, 'destination', listed[place]?.slot ?? 0, bucket);
  });
}

/** rr remembers its last choice: before that one leaves the list, the turn steps back to the one before it. */
export function stepBack(
  { services }: SchedulingMaps,
  entry: ListedService,
  leaving: number,
  before: number,
): void {
  for (;;) {
    const turn = services.getBig(entry.slot, 'turn');
    if (Number(turn & 0xffffffffn) !== leaving) return;
    if (services.swapBig(entry.slot, 'turn', turn, (turn & ~0xffffffffn) | BigInt(before))) return;
  }
}
