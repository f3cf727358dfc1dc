import { familyOf } from '../../model/address.ts';
import { dhTable } from '../../model/schedulers/dh.ts';
import { mhTable, mhTableSize } from '../../model/schedulers/mh.ts';
import { shTable } from '../../model/schedulers/sh.ts';
import { wrrParameters } from '../../model/schedulers/wrr.ts';
import { type Sysctls, sysctlTitle } from '../../model/sysctls.ts';
import type { Refusal } from '../../model/table.ts';
import type { VirtualService } from '../../model/virtual-service.ts';
import { numbers, records } from './layout.generated.ts';
import type { ListedService } from './listing.ts';
import type { Records } from './records.ts';

const { SCHEDULER_MH } = numbers.scheduler;
const bucketsPerTable = records.hash_table.fields.destination.count;

export type SchedulingMaps = {
  readonly services: Records<'service'>;
  readonly destinations: Records<'destination'>;
  readonly hashTables: Records<'hash_table'>;
  readonly settings: Records<'settings'>;
};

/**
 * How many entries of the map the tables of all services get together: as many as 256 services with mh's usual table need
 * (4 MiB), and with larger ones room for 64 services at least.
 */
export const hashTableCount = (mhTableIndex: number): number =>
  Math.max(4096, 64 * tablesOf('mh', mhTableIndex));

/** Gives a service what its scheduler needs beside the list: hash tables of its own. A refusal changes nothing. */
export function equipScheduler(maps: SchedulingMaps, entry: ListedService): Refusal | undefined {
  const { services, hashTables } = maps;
  const { scheduler } = entry.service;
  const wanted = tablesOf(scheduler, mhTableIndexOf(maps));
  const first = wanted > 0 ? freeTables(maps, entry.slot, wanted) : -1;
  if (first === undefined) {
    const most = Math.floor(hashTables.count / wanted);
    return { reason: 'table-full', detail: `there is room for ${most} services with ${scheduler}` };
  }
  services.setBig(entry.slot, 'turn', remembersAddresses(scheduler) ? newTerm() : 0n);
  services.set(entry.slot, 'table', first + 1);
  rescheduleDestinations(maps, entry);
  return undefined;
}

function remembersAddresses(scheduler: VirtualService['scheduler']): boolean {
  return scheduler === 'lblc' || scheduler === 'lblcr';
}

/** Tells what the scheduler remembers from what one before it in the same slot did. */
function newTerm(): bigint {
  return ((process.hrtime.bigint() / 1000n) & 0xffffffffn) << 32n;
}

/** How large the tables of mh are is a constant of the programs. */
export function refuseOtherMhTable(
  { mh_tab_index: wanted }: Partial<Sysctls>,
  now: number,
): Refusal | undefined {
  if (wanted === undefined || wanted === now) return undefined;
  return {
    reason: 'invalid',
    detail: `${sysctlTitle('mh_tab_index')} is ${now} here until the data plane is removed: HEADGATE_MH_TAB_INDEX=${wanted} in the environment of the command that sets it up makes it ${wanted}`,
  };
}

const mhTableIndexOf = ({ settings }: SchedulingMaps): number => settings.get(0, 'mh_tab_index');

/** How many entries of the map a scheduler's buckets take: one for dh and sh, for mh by the size of its table. */
function tablesOf(scheduler: VirtualService['scheduler'], mhTableIndex: number): number {
  if (scheduler === 'mh') return Math.ceil(mhTableSize(mhTableIndex) / bucketsPerTable);
  return scheduler === 'dh' || scheduler === 'sh' ? 1 : 0;
}

/** The first of `wanted` entries in a row that no service but the one in `own` has. */
function freeTables(maps: SchedulingMaps, own: number, wanted: number): number | undefined {
  const { services, hashTables } = maps;
  const tablesOfMh = tablesOf('mh', mhTableIndexOf(maps));
  const taken = new Set<number>();
  for (let slot = 1; slot < services.count; slot++) {
    const first = services.get(slot, 'table');
    if (first === 0 || slot === own) continue;
    const size = services.get(slot, 'scheduler') === SCHEDULER_MH ? tablesOfMh : 1;
    for (let i = 0; i < size; i++) taken.add(first - 1 + i);
  }
  let free = 0;
  for (let number = 0; number < hashTables.count; number++) {
    free = taken.has(number) ? 0 : free + 1;
    if (free === wanted) return number - wanted + 1;
  }
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

/** Deals the buckets to the destinations, newest first as in the kernel's list. */
function fillTable(maps: SchedulingMaps, entry: ListedService, number: number): void {
  const { hashTables, destinations } = maps;
  const listed = [...entry.destinations.values()].reverse();
  deal().forEach((place, bucket) => {
    const table = number + Math.floor(bucket / bucketsPerTable);
    hashTables.set(table, 'destination', listed[place]?.slot ?? 0, bucket % bucketsPerTable);
  });

  function deal(): readonly number[] {
    const { scheduler, id } = entry.service;
    if (scheduler === 'mh') {
      const weighted = listed.map(({ slot, destination: { address, port } }) => ({
        address,
        port,
        lastWeight: destinations.get(slot, 'last_weight'),
      }));
      const family = id.kind === 'fwmark' ? id.family : familyOf(id.address);
      return mhTable(weighted, family, mhTableIndexOf(maps));
    }
    return (scheduler === 'dh' ? dhTable : shTable)(listed.map(({ destination }) => destination));
  }
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
