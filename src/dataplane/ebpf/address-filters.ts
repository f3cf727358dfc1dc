import { isBusy } from './destination-flags.ts';
import { catchOf, readServiceId } from './encoding.ts';
import { filterBit } from './filter-bit.ts';
import type { ListedService } from './listing.ts';
import type { TableMaps } from './table-maps.ts';

/**
 * What tells the program at a glance which packets may belong to a service: a filter of virtual addresses, one of those that
 * replies come from, and whether there are services for more than their own port. What comes is let in at once; what goes is
 * kept out when the table is narrowed.
 */
export type AddressFilters = {
  openService(entry: ListedService): void;
  openDestination(slot: number): void;
  /** Something may have gone. */
  widen(): void;
  /** Lets in what the table needs now, and no more. */
  narrow(): void;
};

type Filter = 'virtual_filter' | 'reply_filter';
const filterNames = ['virtual_filter', 'reply_filter'] as const;

/** `deleted` has the slots of destinations that may still have connections. */
export function addressFilters(
  { services, destinations, settings, runtime }: TableMaps,
  listed: ReadonlyMap<string, ListedService>,
  deleted: ReadonlyMap<string, number>,
): AddressFilters {
  /** Whether the filters may let through what nobody needs any more. */
  let isWide = true;

  return {
    openService({ slot, service }) {
      if (service.id.kind === 'address')
        for (const filter of filterNames) open(filter, services.address(slot, 'address'));
      settings.set(0, 'catch_all', settings.get(0, 'catch_all') | catchOf(service.id));
    },
    openDestination: (slot) => open('reply_filter', destinations.address(slot, 'address')),
    widen() {
      isWide = true;
    },
    narrow() {
      if (isWide) narrow();
    },
  };

  function open(filter: Filter, address: Uint8Array): void {
    const bit = filterBit(address);
    const word = bit >>> 5;
    settings.set(0, filter, settings.get(0, filter, word) | (1 << (bit & 31)), word);
  }

  /** Addresses that clients of firewall-mark services spoke to: a word of the filter. */
  function learned(index: number): number {
    return runtime.get(0, 'learned_filter', index);
  }

  function narrow(): void {
    isWide = false;
    const filters = { virtual_filter: new Uint32Array(128), reply_filter: new Uint32Array(128) };
    const note = (filter: Filter, address: Uint8Array) => {
      const bit = filterBit(address);
      filters[filter][bit >>> 5]! |= 1 << (bit & 31);
    };
    const noteService = (slot: number) => {
      for (const filter of filterNames) note(filter, services.address(slot, 'address'));
    };
    let catchAll = 0;
    let learns = false;
    for (const entry of listed.values()) {
      learns ||= entry.service.id.kind === 'fwmark';
      if (entry.service.id.kind === 'address') noteService(entry.slot);
      catchAll |= catchOf(entry.service.id);
      for (const { slot } of entry.destinations.values())
        note('reply_filter', destinations.address(slot, 'address'));
    }
    for (const slot of deleted.values()) {
      // Packets of connections that are left must still be recognised, to be dropped as the kernel does.
      if (!isBusy(destinations, slot)) continue;
      isWide = true;
      learns ||= readServiceId(services, destinations.get(slot, 'service')).kind === 'fwmark';
      noteService(destinations.get(slot, 'service'));
      note('reply_filter', destinations.address(slot, 'address'));
    }
    for (const filter of filterNames) {
      filters[filter].forEach((word, index) => {
        const wanted = (word | (learns ? learned(index) : 0)) >>> 0;
        if (settings.get(0, filter, index) !== wanted) settings.set(0, filter, wanted, index);
        // The program learns first and opens the filter then: what it did meanwhile is seen here.
        if (learns) settings.set(0, filter, (wanted | learned(index)) >>> 0, index);
        else if (learned(index) !== 0) runtime.set(0, 'learned_filter', 0, index);
      });
    }
    settings.set(0, 'catch_all', catchAll);
  }
}
