import { BpfObjectError } from './errors.ts';

/** ELF constants used here (System V ABI; e_machine of BPF in Linux's elf-em.h). */
const EM_BPF = 247;
export const SHT_PROGBITS = 1;
const SHT_SYMTAB = 2;
export const SHT_NOBITS = 8;
const SHT_REL = 9;
export const SHF_EXECINSTR = 4;
export const STT_FUNC = 2;
const STT_SECTION = 3;
export const STB_LOCAL = 0;
export const STV_HIDDEN = 2;

export type ElfSection = {
  readonly index: number;
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly size: number;
  /** The section's bytes; empty for SHT_NOBITS. */
  readonly data: Buffer;
  readonly link: number;
  readonly info: number;
};

export type ElfSymbol = {
  readonly name: string;
  readonly type: number;
  readonly binding: number;
  readonly visibility: number;
  /** 0 for an undefined (external) symbol. */
  readonly sectionIndex: number;
  readonly value: number;
  readonly size: number;
};

export type ElfRelocation = { readonly offset: number; readonly type: number; readonly symbol: ElfSymbol };

export type Elf = {
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
  /** Relocations by the index of the section they apply to, in file order. */
  readonly relocations: ReadonlyMap<number, readonly ElfRelocation[]>;
};

/** Reads a relocatable little-endian 64-bit BPF object. Throws BpfObjectError on anything else; returns views, not copies. */
export function parseElf(bytes: Uint8Array): Elf {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46)
    throw new BpfObjectError('read object: not an ELF file');
  if (file[4] !== 2 || file[5] !== 1)
    throw new BpfObjectError('read object: wanted a little-endian 64-bit ELF file');
  if (file.readUInt16LE(18) !== EM_BPF)
    throw new BpfObjectError(
      `read object: wanted machine ${EM_BPF} (BPF), found ${file.readUInt16LE(18)}; build it with -target bpf`,
    );
  const sections = readSections(file);
  const symbols = readSymbols(sections);
  return { sections, symbols, relocations: readRelocations(sections, symbols) };
}

function readSections(file: Buffer): ElfSection[] {
  const offset = u64(file, 40);
  const entrySize = file.readUInt16LE(58);
  const count = file.readUInt16LE(60);
  const namesIndex = file.readUInt16LE(62);
  if (entrySize < 64 || offset + count * entrySize > file.length)
    throw new BpfObjectError('read object: the section headers lie outside the file');
  const raw = Array.from({ length: count }, (_, index) => {
    const at = offset + index * entrySize;
    const type = file.readUInt32LE(at + 4);
    const size = u64(file, at + 32);
    const start = u64(file, at + 24);
    const inFile = type !== SHT_NOBITS && type !== 0;
    if (inFile && start + size > file.length)
      throw new BpfObjectError(`read object: section ${index} lies outside the file`);
    return {
      index,
      nameOffset: file.readUInt32LE(at),
      type,
      flags: u64(file, at + 8),
      size,
      data: inFile ? file.subarray(start, start + size) : Buffer.alloc(0),
      link: file.readUInt32LE(at + 40),
      info: file.readUInt32LE(at + 44),
    };
  });
  // Sections of a sound file do not overlap; this also bounds the work a damaged one can cause.
  if (raw.reduce((total, section) => total + section.data.length, 0) > file.length)
    throw new BpfObjectError('read object: its sections overlap');
  const names = raw[namesIndex]?.data ?? Buffer.alloc(0);
  return raw.map(({ nameOffset, ...section }) => ({ ...section, name: stringAt(names, nameOffset) }));
}

function readSymbols(sections: readonly ElfSection[]): ElfSymbol[] {
  const table = sections.find((section) => section.type === SHT_SYMTAB);
  if (!table) throw new BpfObjectError('read object: it has no symbol table');
  const names = sections[table.link]?.data ?? Buffer.alloc(0);
  return Array.from({ length: Math.floor(table.data.length / 24) }, (_, index) => {
    const at = index * 24;
    const info = table.data[at + 4]!;
    const sectionIndex = table.data.readUInt16LE(at + 6);
    const type = info & 15;
    const name = stringAt(names, table.data.readUInt32LE(at));
    return {
      name: type === STT_SECTION && !name ? (sections[sectionIndex]?.name ?? '') : name,
      type,
      binding: info >> 4,
      visibility: table.data[at + 5]! & 3,
      sectionIndex,
      value: u64(table.data, at + 8),
      size: u64(table.data, at + 16),
    };
  });
}

function readRelocations(sections: readonly ElfSection[], symbols: readonly ElfSymbol[]) {
  const byTarget = new Map<number, ElfRelocation[]>();
  for (const section of sections) {
    if (section.type !== SHT_REL) continue;
    const list = byTarget.get(section.info) ?? [];
    for (let at = 0; at + 16 <= section.data.length; at += 16) {
      const symbol = symbols[section.data.readUInt32LE(at + 12)];
      if (!symbol) throw new BpfObjectError(`read object: a relocation in "${section.name}" names no symbol`);
      list.push({ offset: u64(section.data, at), type: section.data.readUInt32LE(at + 8), symbol });
    }
    byTarget.set(section.info, list);
  }
  return byTarget;
}

/** A 64-bit field as a number; values beyond 2^53 only occur in damaged files and fail the range check that follows. */
function u64(buffer: Buffer, offset: number): number {
  return buffer.readUInt32LE(offset) + buffer.readUInt32LE(offset + 4) * 2 ** 32;
}

/** The zero-terminated string at an offset of a string table. */
export function stringAt(table: Buffer, offset: number): string {
  if (offset >= table.length) return '';
  const end = table.indexOf(0, offset);
  return table.toString('utf8', offset, end < 0 ? table.length : end);
}
