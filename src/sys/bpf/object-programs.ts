import type { BtfExt, BtfExtRecords } from './btf-ext.ts';
import { type Elf, type ElfRelocation, type ElfSection, SHF_EXECINSTR, STB_LOCAL, STT_FUNC } from './elf.ts';
import { BpfObjectError } from './errors.ts';
import type { DataSections, DefinedMaps } from './object-maps.ts';
import type { MapReference, ProgramSpec } from './object-parts.ts';
import { programKind } from './section-names.ts';

/** Instruction encoding (Documentation/bpf/standardization/instruction-set.rst). */
const INSTRUCTION = 8;
const LOAD_64 = 0x18;
const CALL = 0x85;
const PSEUDO_CALL = 1;
const PSEUDO_MAP_FD = 1;
const PSEUDO_MAP_VALUE = 2;
const PSEUDO_FUNC = 4;
const R_BPF_64_64 = 1;
const R_BPF_64_32 = 10;
/** More than any kernel takes. */
const mostInstructions = 1_000_000;

type Function = {
  readonly name: string;
  readonly section: ElfSection;
  /** Bytes within the section. */
  readonly start: number;
  readonly end: number;
  readonly isLocal: boolean;
};

type Context = {
  readonly elf: Elf;
  readonly ext: BtfExt | undefined;
  readonly defined: DefinedMaps;
  readonly data: DataSections;
  /** Functions by section and start. */
  readonly functions: ReadonlyMap<number, Function>;
  readonly relocations: ReadonlyMap<number, ElfRelocation>;
};

/** A place in the object as one number; sections are far shorter. */
const at = (section: number, offset: number) => section * 2 ** 32 + offset;

/** Builds one self-contained program for every global function outside .text, or for those of them that are wanted. */
export function linkPrograms(
  elf: Elf,
  ext: BtfExt | undefined,
  defined: DefinedMaps,
  data: DataSections,
  wanted?: readonly string[],
): ProgramSpec[] {
  const functions = new Map<number, Function>();
  const relocations = new Map<number, ElfRelocation>();
  for (const symbol of elf.symbols) {
    const section = elf.sections[symbol.sectionIndex];
    if (symbol.type !== STT_FUNC || !section || (section.flags & SHF_EXECINSTR) === 0) continue;
    const end = symbol.value + symbol.size;
    if (
      end > section.data.length ||
      symbol.size === 0 ||
      symbol.value % INSTRUCTION ||
      symbol.size % INSTRUCTION
    )
      throw new BpfObjectError(
        `read object: function "${symbol.name}" lies outside section "${section.name}"`,
      );
    functions.set(at(section.index, symbol.value), {
      name: symbol.name,
      section,
      start: symbol.value,
      end,
      isLocal: symbol.binding === STB_LOCAL,
    });
  }
  for (const section of elf.sections) {
    if ((section.flags & SHF_EXECINSTR) === 0) continue;
    for (const relocation of elf.relocations.get(section.index) ?? []) {
      const opcode = section.data[relocation.offset];
      if (opcode !== CALL && opcode !== LOAD_64)
        throw new BpfObjectError(
          `read section "${section.name}": a relocation of what neither calls nor loads is not supported`,
        );
      relocations.set(at(section.index, relocation.offset), relocation);
    }
  }
  const context = { elf, ext, defined, data, functions, relocations };
  return [...functions.values()]
    .filter((candidate) => candidate.section.name !== '.text' && !candidate.isLocal)
    .filter(({ name }) => wanted?.includes(name) ?? true)
    .map((entry) => linkProgram(entry, context));
}

function linkProgram(entry: Function, context: Context): ProgramSpec {
  const references: MapReference[] = [];
  const pieces: Buffer[] = [];
  const calls: { instruction: number; target: Function; opcode: number }[] = [];
  const placed = new Map<Function, number>();
  let total = 0;
  // Callees follow in the order libbpf puts them (depth first), so that the kernel shows the same tag for both loaders.
  const place = (code: Function) => {
    const base = total;
    const bytes = Buffer.from(code.section.data.subarray(code.start, code.end));
    placed.set(code, base);
    pieces.push(bytes);
    total += bytes.length / INSTRUCTION;
    if (total > mostInstructions)
      throw new BpfObjectError(`read program "${entry.name}": more than ${mostInstructions} instructions`);
    for (let offset = 0; offset < bytes.length; offset += INSTRUCTION) {
      const instruction = base + offset / INSTRUCTION;
      const opcode = bytes[offset]!;
      if (opcode !== CALL && opcode !== LOAD_64) continue;
      const target = relocate(code, bytes, offset, instruction, references, context);
      if (target) {
        if (!placed.has(target)) place(target);
        calls.push({ instruction, target, opcode });
      }
      if (opcode === LOAD_64) offset += INSTRUCTION;
    }
  };
  place(entry);
  const instructions = Buffer.concat(pieces);
  for (const { instruction, target, opcode } of calls) {
    const distance = placed.get(target)! - instruction - 1;
    if (opcode === LOAD_64) setSourceRegister(instructions, instruction * INSTRUCTION, PSEUDO_FUNC);
    instructions.writeInt32LE(distance, instruction * INSTRUCTION + 4);
  }
  const kind = programKind(entry.section.name);
  return {
    name: entry.name,
    section: entry.section.name,
    ...kind,
    instructions,
    references,
    functionInfo: moveRecords(context.ext?.functions, placed),
    lineInfo: moveRecords(context.ext?.lines, placed),
  };
}

/** Notes what the instruction at `offset` refers to; the function it calls or takes the address of is returned. */
function relocate(
  code: Function,
  bytes: Buffer,
  offset: number,
  instruction: number,
  references: MapReference[],
  context: Context,
): Function | undefined {
  const opcode = bytes[offset]!;
  const immediate = bytes.readInt32LE(offset + 4);
  const relocation = context.relocations.get(at(code.section.index, code.start + offset));
  if (opcode === CALL && (relocation || bytes[offset + 1]! >> 4 === PSEUDO_CALL)) {
    if (!relocation)
      return functionAt(
        code.section.index,
        code.start + offset + (immediate + 1) * INSTRUCTION,
        code,
        context,
      );
    if (relocation.type !== R_BPF_64_32 || relocation.symbol.sectionIndex === 0)
      throw external(code, relocation);
    return functionAt(
      relocation.symbol.sectionIndex,
      relocation.symbol.value + (immediate + 1) * INSTRUCTION,
      code,
      context,
    );
  }
  if (!relocation) return undefined;
  const { symbol } = relocation;
  if (opcode === CALL || relocation.type !== R_BPF_64_64 || symbol.sectionIndex === 0)
    throw external(code, relocation);
  if (offset + 2 * INSTRUCTION > bytes.length)
    throw new BpfObjectError(`read function "${code.name}": it ends inside an instruction`);
  const position = symbol.value + immediate;
  if (symbol.sectionIndex === context.defined.section) {
    const map = context.defined.byOffset.get(position);
    if (!map)
      throw new BpfObjectError(`read function "${code.name}": it refers to no map (.maps+${position})`);
    references.push({ instruction, map });
    setSourceRegister(bytes, offset, PSEUDO_MAP_FD);
    return undefined;
  }
  const section = context.data.bySection.get(symbol.sectionIndex);
  if (section) {
    references.push({ instruction, map: section, valueOffset: position });
    setSourceRegister(bytes, offset, PSEUDO_MAP_VALUE);
    return undefined;
  }
  return functionAt(symbol.sectionIndex, position, code, context);
}

function functionAt(section: number, offset: number, caller: Function, context: Context): Function {
  const target = context.functions.get(at(section, offset));
  if (!target) {
    const name = context.elf.sections[section]?.name ?? section;
    throw new BpfObjectError(
      `read function "${caller.name}": it calls ${name}+${offset}, where no function starts`,
    );
  }
  return target;
}

function external(code: Function, { symbol, type }: ElfRelocation): BpfObjectError {
  const what =
    symbol.sectionIndex === 0 ? 'is not defined in the object' : `is used by relocation type ${type}`;
  return new BpfObjectError(`read function "${code.name}": "${symbol.name}" ${what}, which is not supported`);
}

function setSourceRegister(bytes: Buffer, offset: number, register: number): void {
  bytes[offset + 1] = (bytes[offset + 1]! & 0x0f) | (register << 4);
}

/** Records of the functions' sections, moved to where the functions stand in the program; offsets in instructions. */
function moveRecords(
  table: ReadonlyMap<string, BtfExtRecords> | undefined,
  placed: ReadonlyMap<Function, number>,
): Buffer {
  const moved: Uint32Array[] = [];
  for (const [code, base] of placed) {
    const records = table?.get(code.section.name);
    if (!records) continue;
    const { wordsEach } = records;
    const own = records.words.slice(firstFrom(records, code.start), firstFrom(records, code.end));
    for (let at = 0; at < own.length; at += wordsEach) own[at] = base + (own[at]! - code.start) / INSTRUCTION;
    moved.push(own);
  }
  return Buffer.concat(moved.map(({ buffer }) => new Uint8Array(buffer)));
}

/** Where the records begin that are about `offset` or what comes behind it. */
function firstFrom({ words, wordsEach }: BtfExtRecords, offset: number): number {
  let [low, high] = [0, words.length / wordsEach];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle * wordsEach]! < offset) low = middle + 1;
    else high = middle;
  }
  return low * wordsEach;
}
