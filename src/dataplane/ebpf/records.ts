import type { MapHandle } from '../../sys/bpf/map.ts';
import type { Mapping } from '../../sys/ffi.ts';
import { type numbers, records } from './layout.generated.ts';

type Layouts = typeof records;
export type RecordName = keyof Layouts;
export type FieldName<Name extends RecordName> = keyof Layouts[Name]['fields'] & string;
type Field = { readonly offset: number; readonly size: number; readonly count: number };

/** The numbers of one shared enumeration. */
export type Numbers<Name extends keyof typeof numbers> = (typeof numbers)[Name];

/**
 * An array of records in memory that the kernel's program reads and writes at the same time. Every store is one
 * aligned machine word, so the program sees the old or the new value, never a mixture.
 */
export type Records<Name extends RecordName> = {
  readonly count: number;
  /** A field of 1, 2 or 4 bytes, unsigned; `index` picks an element of an array field. */
  get(slot: number, field: FieldName<Name>, index?: number): number;
  set(slot: number, field: FieldName<Name>, value: number, index?: number): void;
  /** Adds to a 4-byte field in one step. */
  add(slot: number, field: FieldName<Name>, by: number): void;
  /** Stores `value` in a 4-byte field if it still holds `expected`; tells whether it did. */
  swap(slot: number, field: FieldName<Name>, expected: number, value: number): boolean;
  /** A field of 8 bytes. */
  getBig(slot: number, field: FieldName<Name>): bigint;
  setBig(slot: number, field: FieldName<Name>, value: bigint): void;
  /** Stores `value` if the field still holds `expected`; tells whether it did. */
  swapBig(slot: number, field: FieldName<Name>, expected: bigint, value: bigint): boolean;
  /** A copy of the 16 bytes of an address field. */
  address(slot: number, field: FieldName<Name>): Uint8Array;
  setAddress(slot: number, field: FieldName<Name>, bytes: Uint8Array): void;
  close(): void;
};

/** Maps an array map's memory as records. */
export function mapRecords<Name extends RecordName>(map: MapHandle, name: Name): Records<Name> {
  return recordsOver(map.mmap('read-write'), map.maxEntries, name);
}

function recordsOver<Name extends RecordName>(mapping: Mapping, count: number, name: Name): Records<Name> {
  const fields = records[name].fields as Readonly<Record<string, Field>>;
  // The kernel pads array values to eight bytes.
  const stride = (records[name].size + 7) & ~7;
  const { buffer } = mapping;
  const bytes = new Uint8Array(buffer);
  const halves = new Uint16Array(buffer);
  const words = new Uint32Array(buffer);
  const doubles = new BigUint64Array(buffer);
  const at = (slot: number, field: string) => slot * stride + fields[field]!.offset;
  return {
    count,
    get(slot, field, index = 0) {
      const { offset, size } = fields[field]!;
      const place = slot * stride + offset + index * size;
      switch (size) {
        case 1:
          return bytes[place]!;
        case 2:
          return halves[place >> 1]!;
        default:
          return Atomics.load(words, place / 4);
      }
    },
    set(slot, field, value, index = 0) {
      const { offset, size } = fields[field]!;
      const place = slot * stride + offset + index * size;
      switch (size) {
        case 1:
          bytes[place] = value;
          return;
        case 2:
          halves[place >> 1] = value;
          return;
        default:
          Atomics.store(words, place / 4, value >>> 0);
      }
    },
    add(slot, field, by) {
      Atomics.add(words, at(slot, field) / 4, by);
    },
    swap: (slot, field, expected, value) =>
      Atomics.compareExchange(words, at(slot, field) / 4, expected, value) === expected,
    getBig: (slot, field) => Atomics.load(doubles, at(slot, field) / 8),
    setBig(slot, field, value) {
      Atomics.store(doubles, at(slot, field) / 8, BigInt.asUintN(64, value));
    },
    swapBig: (slot, field, expected, value) =>
      Atomics.compareExchange(doubles, at(slot, field) / 8, expected, value) === expected,
    address(slot, field) {
      const place = at(slot, field);
      return bytes.slice(place, place + 16);
    },
    setAddress(slot, field, address) {
      const source = new Uint32Array(new Uint8Array(address).buffer);
      const place = at(slot, field) / 4;
      for (let i = 0; i < 4; i++) Atomics.store(words, place + i, source[i]!);
    },
    close: () => mapping.close(),
  };
}
