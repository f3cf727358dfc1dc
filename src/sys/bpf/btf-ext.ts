import type { Btf } from './btf.ts';
import { stringAt } from './elf.ts';
import { BpfObjectError } from './errors.ts';

/** One record of .BTF.ext: a byte offset within its section, and the words that follow (type id, or file/line/column). */
export type BtfExtRecord = { readonly offset: number; readonly words: readonly number[] };

/** Records by the name of the section they describe. */
export type BtfExt = {
  readonly functions: ReadonlyMap<string, readonly BtfExtRecord[]>;
  readonly lines: ReadonlyMap<string, readonly BtfExtRecord[]>;
  /** CO-RE relocations, which this loader does not apply. */
  readonly coreRelocations: number;
};

/** Words the kernel knows of each record (struct bpf_func_info, struct bpf_line_info). */
const functionWords = 2;
const lineWords = 4;

/** Reads a .BTF.ext section. Throws BpfObjectError when it is malformed. */
export function parseBtfExt(bytes: Buffer, btf: Btf): BtfExt {
  if (bytes.length < 24 || bytes.readUInt16LE(0) !== 0xeb9f)
    throw new BpfObjectError('read .BTF.ext: it has no header');
  const headerLength = bytes.readUInt32LE(4);
  const table = (field: number) => {
    if (field + 8 > headerLength || field + 8 > bytes.length) return Buffer.alloc(0);
    const start = headerLength + bytes.readUInt32LE(field);
    const length = bytes.readUInt32LE(field + 4);
    if (start + length > bytes.length)
      throw new BpfObjectError('read .BTF.ext: a table lies outside the section');
    return bytes.subarray(start, start + length);
  };
  const strings = btfStrings(btf);
  return {
    functions: readTable(table(8), strings, functionWords),
    lines: readTable(table(16), strings, lineWords),
    coreRelocations: readTable(table(24), strings, lineWords).size,
  };
}

function readTable(table: Buffer, strings: Buffer, words: number): Map<string, BtfExtRecord[]> {
  const bySection = new Map<string, BtfExtRecord[]>();
  if (table.length === 0) return bySection;
  const recordSize = table.length >= 4 ? table.readUInt32LE(0) : 0;
  if (recordSize < words * 4) throw new BpfObjectError('read .BTF.ext: its records are too short');
  for (let at = 4; at + 8 <= table.length; ) {
    const name = stringAt(strings, table.readUInt32LE(at));
    const count = table.readUInt32LE(at + 4);
    at += 8;
    if (at + count * recordSize > table.length)
      throw new BpfObjectError(`read .BTF.ext: the records of "${name}" are cut off`);
    const records = bySection.get(name) ?? [];
    for (let index = 0; index < count; index++, at += recordSize) {
      const start = at + 4;
      records.push({
        offset: table.readUInt32LE(at),
        words: Array.from({ length: words - 1 }, (_, word) => table.readUInt32LE(start + word * 4)),
      });
    }
    bySection.set(name, records);
  }
  return bySection;
}

function btfStrings(btf: Btf): Buffer {
  const start = btf.bytes.readUInt32LE(4) + btf.bytes.readUInt32LE(16);
  return btf.bytes.subarray(start, start + btf.bytes.readUInt32LE(20));
}
