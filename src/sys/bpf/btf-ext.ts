import type { Btf } from './btf.ts';
import { stringAt } from './elf.ts';
import { BpfObjectError } from './errors.ts';

/**
 * Records of .BTF.ext about a section, each of so many words: a byte offset within the section, by which they are sorted, and
 * what follows (type id, or file/line/column).
 */
export type BtfExtRecords = { readonly wordsEach: number; readonly words: Uint32Array };

/** Records by the name of the section they describe. */
export type BtfExt = {
  readonly functions: ReadonlyMap<string, BtfExtRecords>;
  readonly lines: ReadonlyMap<string, BtfExtRecords>;
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

function readTable(table: Buffer, strings: Buffer, wordsEach: number): Map<string, BtfExtRecords> {
  const bySection = new Map<string, BtfExtRecords>();
  if (table.length === 0) return bySection;
  const recordSize = table.length >= 4 ? table.readUInt32LE(0) : 0;
  if (recordSize < wordsEach * 4) throw new BpfObjectError('read .BTF.ext: its records are too short');
  for (let at = 4; at + 8 <= table.length; ) {
    const name = stringAt(strings, table.readUInt32LE(at));
    const count = table.readUInt32LE(at + 4);
    at += 8;
    if (at + count * recordSize > table.length)
      throw new BpfObjectError(`read .BTF.ext: the records of "${name}" are cut off`);
    if (bySection.has(name))
      throw new BpfObjectError(`read .BTF.ext: the records of "${name}" are in several places`);
    const words = new Uint32Array(count * wordsEach);
    const view = new DataView(table.buffer, table.byteOffset + at, count * recordSize);
    for (let record = 0; record < count; record++) {
      for (let word = 0; word < wordsEach; word++)
        words[record * wordsEach + word] = view.getUint32(record * recordSize + word * 4, true);
      if (record > 0 && words[record * wordsEach]! < words[(record - 1) * wordsEach]!)
        throw new BpfObjectError(`read .BTF.ext: the records of "${name}" are not in order`);
    }
    bySection.set(name, { wordsEach, words });
    at += count * recordSize;
  }
  return bySection;
}

function btfStrings(btf: Btf): Buffer {
  const start = btf.bytes.readUInt32LE(4) + btf.bytes.readUInt32LE(16);
  return btf.bytes.subarray(start, start + btf.bytes.readUInt32LE(20));
}
