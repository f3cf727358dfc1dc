import { type Address, addressToBytes, familyOf } from '../model/address.ts';
import type { MapHandle } from '../sys/bpf/map.ts';
import { openPinnedMap } from '../sys/bpf/pin.ts';
import type { Mapping } from '../sys/ffi.ts';
import type { LeaseMaps } from './settings.ts';

/** A virtual address of an instance. */
export type Leased = {
  readonly instance: string;
  readonly address: Address;
  /** The number of the instance's device; 0: it is not there. */
  readonly ifindex: number;
  /** The host has the address for good besides: it is one of its real servers. */
  readonly resident: boolean;
};

/** Until when the data plane lets this host speak for its virtual addresses (bpf/lease.h). */
export type Leases = {
  /** Goes on with these maps, or without any. Throws SystemError; without any then. */
  use(maps: LeaseMaps | undefined): void;
  /** All addresses there are. Cheap where nothing has changed. */
  assign(leased: readonly Leased[]): void;
  /**
   * An instance holds its addresses until a moment since boot, milliseconds; 0: no longer. Who did not hold them before waits
   * a little for what whoever did may yet tell of its connections. One store into memory.
   */
  hold(instance: string, untilMs: number, nowMs: number): void;
  /** Gives all of them up. What is resident stays leased: the next director sends it what is for the real server here. */
  close(): void;
};

type Open = {
  readonly leases: MapHandle;
  readonly addresses: MapHandle;
  readonly memory: Mapping;
  readonly ends: BigUint64Array;
};

/** bpf/lease.h, enum leasing. */
const [leasing, leasingToServer] = [1n, 2n];
const [settles, firstSlot] = [1, 2];
/** Longer than a busy host is late to tell of a connection, and than TCP waits before it sends again (RFC 6298: 200 ms in Linux). */
const settleMs = 500;

/** Without maps: nobody looks. */
export function openLeases(): Leases {
  let open: Open | undefined;
  let assigned = '';
  const slots = new Map<string, number>();
  const ends = new Map<string, bigint>();
  let settled = 0n;

  function shut(): void {
    open?.memory.close();
    open?.leases.close();
    open?.addresses.close();
    [open, assigned] = [undefined, ''];
  }

  function slotOf(instance: string, most: number): number {
    const taken = new Set(slots.values());
    let slot = slots.get(instance) ?? firstSlot;
    if (!slots.has(instance)) while (taken.has(slot)) slot += 1;
    if (slot >= most)
      throw new RangeError(`lease its addresses: ${most - firstSlot} instances have leases already`);
    slots.set(instance, slot);
    return slot;
  }

  const store = (slot: number, end: bigint) => void Atomics.store(open!.ends, slot, end);

  /** An address is found only when its lease is what it is to be, and last of all the program looks. */
  function write({ leases, addresses }: Open, all: readonly Leased[]): void {
    for (const one of [...slots.keys()])
      if (!all.some(({ instance }) => instance === one)) {
        slots.delete(one);
        ends.delete(one);
      }
    store(settles, settled);
    const wanted = new Set<string>();
    for (const one of all) {
      const slot = slotOf(one.instance, leases.maxEntries);
      store(slot, ends.get(one.instance) ?? 0n);
      const key = keyOf(one);
      wanted.add(key.toString('hex'));
      addresses.update(key, recordOf(slot, one.resident));
    }
    for (const key of [...addresses.keys()]) if (!wanted.has(key.toString('hex'))) addresses.delete(key);
    const toServer = all.some(({ resident }) => resident) ? leasingToServer : 0n;
    store(0, all.length > 0 ? leasing | toServer : 0n);
  }

  /** What a process that was killed has left goes as well: this one may end before it has looked where its addresses are. */
  function giveUp({ addresses }: Open): void {
    let some = false;
    for (const [key, record] of [...addresses.entries()]) {
      const { slot, resident } = leasedOf(record);
      store(slot, 0n);
      if (resident) some = true;
      else addresses.delete(key);
    }
    store(0, some ? leasing | leasingToServer : 0n);
  }

  return {
    use(maps) {
      shut();
      if (!maps) return;
      const addresses = openPinnedMap(maps.addresses);
      const leases = openPinnedMap(maps.leases);
      const memory = leases.mmap('read-write');
      open = { leases, addresses, memory, ends: new BigUint64Array(memory.buffer) };
    },
    assign(all) {
      const news = JSON.stringify(all);
      if (!open || news === assigned) return;
      write(open, all);
      assigned = news;
    },
    hold(instance, untilMs, nowMs) {
      const end = nanoseconds(untilMs);
      if (end > 0n && (ends.get(instance) ?? 0n) <= nanoseconds(nowMs)) {
        settled = nanoseconds(nowMs + settleMs);
        if (open) store(settles, settled);
      }
      ends.set(instance, end);
      const slot = slots.get(instance);
      if (open && slot !== undefined) store(slot, end);
    },
    close() {
      ends.clear();
      if (open) giveUp(open);
      shut();
    },
  };
}

const nanoseconds = (ms: number) => BigInt(Math.floor(ms * 1e6));

/** struct leased_key. */
function keyOf({ address, ifindex }: Leased): Buffer {
  const key = Buffer.alloc(20);
  const bytes = addressToBytes(address);
  key.set(bytes, 16 - bytes.length);
  const isLinkLocal = familyOf(address) === 6 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
  if (isLinkLocal) key.writeUInt32LE(ifindex, 16);
  return key;
}

/** struct leased. */
function recordOf(slot: number, resident: boolean): Buffer {
  const value = Buffer.alloc(8);
  value.writeUInt32LE(slot, 0);
  value.writeUInt32LE(resident ? 1 : 0, 4);
  return value;
}

const leasedOf = (record: Buffer): { readonly slot: number; readonly resident: boolean } => ({
  slot: record.readUInt32LE(0),
  resident: record.readUInt32LE(4) !== 0,
});
