import { type Btf, type BtfKind, parseBtf, typeById } from './btf.ts';
import { type Elf, type ElfSymbol, STB_LOCAL, STT_FUNC, STV_HIDDEN } from './elf.ts';
import { BpfObjectError } from './errors.ts';

/** Offsets within a type's record (struct btf_type and what follows it). */
const INFO = 4;
const SIZE = 8;
const AFTER_HEADER = 12;

/**
 * The BTF with what the compiler leaves to a linker: sizes of data sections and offsets of the variables in them come
 * from the symbol table, sorted by offset as the kernel demands; hidden functions become static, so that the kernel
 * verifies them with their callers.
 */
export function completeBtf(btf: Btf, elf: Elf): Btf {
  const bytes = Buffer.from(btf.bytes);
  const sectionIndex = new Map(elf.sections.map((section) => [section.name, section.index]));
  const symbols = new Map<string, ElfSymbol>();
  for (const symbol of elf.symbols) {
    if (symbol.name) symbols.set(`${symbol.sectionIndex}:${symbol.name}`, symbol);
  }
  for (const type of btf.types) {
    if (type.kind !== 'section') continue;
    const index = sectionIndex.get(type.name);
    if (index === undefined)
      throw new BpfObjectError(`read BTF: section "${type.name}" of the BTF is not in the object`);
    bytes.writeUInt32LE(elf.sections[index]!.size, type.position + SIZE);
    const variables = type.variables.map((variable) => {
      const { name } = typeById(btf, variable.typeId);
      const symbol = symbols.get(`${index}:${name}`);
      if (!symbol) throw new BpfObjectError(`read BTF: variable "${name}" of "${type.name}" has no symbol`);
      return { ...variable, offset: symbol.value };
    });
    variables.sort((a, b) => a.offset - b.offset);
    variables.forEach((variable, position) => {
      const at = type.position + AFTER_HEADER + position * 12;
      bytes.writeUInt32LE(variable.typeId, at);
      bytes.writeUInt32LE(variable.offset, at + 4);
      bytes.writeUInt32LE(variable.size, at + 8);
    });
  }
  const hidden = new Set(
    elf.symbols
      .filter(
        ({ type, binding, visibility }) =>
          type === STT_FUNC && binding !== STB_LOCAL && visibility === STV_HIDDEN,
      )
      .map(({ name }) => name),
  );
  for (const type of btf.types) {
    if (type.kind === 'function' && hidden.has(type.name)) setVlen(bytes, type.position, 0);
  }
  return parseBtf(bytes);
}

function setVlen(bytes: Buffer, position: number, vlen: number): void {
  bytes.writeUInt16LE(vlen, position + INFO);
}

const INT = 1;
const STRUCT = 4;
const CONST = 10;

/**
 * The same BTF for a kernel that refuses newer kinds or forms of them. Ids and lengths of records stay: floats become
 * opaque structs, type tags plain qualifiers, declaration tags one-byte integers nobody uses, global functions static.
 */
export function sanitiseBtf(btf: Btf): Buffer {
  const bytes = Buffer.from(btf.bytes);
  const setKind = (position: number, kind: number) =>
    bytes.writeUInt32LE((kind << 24) >>> 0, position + INFO);
  const unnamed = (position: number) => bytes.writeUInt32LE(0, position);
  const replace: Partial<Record<BtfKind, (position: number) => void>> = {
    function: (position) => setVlen(bytes, position, 0),
    float: (position) => setKind(position, STRUCT),
    'type-tag': (position) => {
      setKind(position, CONST);
      unnamed(position);
    },
    'declaration-tag': (position) => {
      const bits = 8;
      setKind(position, INT);
      bytes.writeUInt32LE(1, position + SIZE);
      bytes.writeUInt32LE(bits, position + AFTER_HEADER);
    },
  };
  for (const type of btf.types) replace[type.kind]?.(type.position);
  return bytes;
}
