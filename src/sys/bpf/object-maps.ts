import { type Btf, type BtfType, resolveType, typeById, typeSize } from './btf.ts';
import { type Elf, type ElfSection, SHF_EXECINSTR, SHT_NOBITS, SHT_PROGBITS } from './elf.ts';
import { BpfObjectError } from './errors.ts';
import type { MapSpec, VariableSpec } from './object-parts.ts';
import { mapFlag, mapType } from './uapi.ts';

/** Maps by where their definitions stand, for the instructions that refer to them. */
export type DefinedMaps = {
  readonly section: number | undefined;
  readonly maps: readonly MapSpec[];
  readonly byOffset: ReadonlyMap<number, string>;
};

/** Sections of global variables: each is a map of one element. */
export type DataSections = {
  readonly maps: readonly MapSpec[];
  readonly bySection: ReadonlyMap<number, string>;
  readonly variables: Readonly<Record<string, VariableSpec>>;
};

const R_BPF_64_ABS64 = 2;
const PIN_BY_NAME = 1;
const largestDataSection = 2 ** 30;

/** Reads the BTF-style definitions of the `.maps` section. */
export function readMapDefinitions(elf: Elf, btf: Btf | undefined): DefinedMaps {
  const section = elf.sections.find(({ name }) => name === '.maps');
  if (!section) return { section: undefined, maps: [], byOffset: new Map() };
  const list = btf?.types.find((type) => type.kind === 'section' && type.name === '.maps');
  if (!btf || !list)
    throw new BpfObjectError('read object: section ".maps" has no BTF; build the object with -g');
  const byOffset = new Map<number, string>();
  const maps = list.variables.map((variable) => {
    const { name, typeId } = typeById(btf, variable.typeId);
    byOffset.set(variable.offset, name);
    const spec = readDefinition(btf, resolveType(btf, typeId), name);
    return { ...spec, values: readSlots(elf, section, btf, resolveType(btf, typeId), variable.offset, name) };
  });
  return { section: section.index, maps, byOffset };
}

function readDefinition(btf: Btf, definition: BtfType, name: string): MapSpec {
  if (definition.kind !== 'struct')
    throw new BpfObjectError(`read map "${name}": its definition is no struct`);
  const numbers: Record<string, number> = {};
  const types: Record<string, number> = {};
  let inner: MapSpec | undefined;
  for (const member of definition.members) {
    if (member.name === 'key' || member.name === 'value')
      types[member.name] = pointerTarget(btf, member.typeId, name);
    else if (member.name === 'values') inner = innerDefinition(btf, member.typeId, name);
    else numbers[member.name] = attribute(btf, member.typeId, name, member.name);
  }
  const type = numbers.type ?? 0;
  if (type === 0) throw new BpfObjectError(`read map "${name}": it has no type`);
  const holdsDescriptors = definition.members.some((member) => member.name === 'values');
  // The kernel refuses type ids on maps whose values are its own objects.
  const described = !withoutBtf.has(type);
  return {
    name,
    type,
    keySize: types.key ? typeSize(btf, types.key) : (numbers.key_size ?? (holdsDescriptors ? 4 : 0)),
    valueSize: types.value ? typeSize(btf, types.value) : (numbers.value_size ?? (holdsDescriptors ? 4 : 0)),
    maxEntries: numbers.max_entries ?? 0,
    flags: numbers.map_flags ?? 0,
    mapExtra: numbers.map_extra ?? 0,
    pinning: numbers.pinning === PIN_BY_NAME ? 'by-name' : 'none',
    keyTypeId: described ? (types.key ?? 0) : 0,
    valueTypeId: described ? (types.value ?? 0) : 0,
    ...(inner && { inner }),
    values: [],
    constant: false,
  };
}

const withoutBtf: ReadonlySet<number> = new Set([
  mapType.PROG_ARRAY,
  mapType.PERF_EVENT_ARRAY,
  mapType.STACK_TRACE,
  mapType.CGROUP_ARRAY,
  mapType.ARRAY_OF_MAPS,
  mapType.HASH_OF_MAPS,
  mapType.DEVMAP,
  mapType.DEVMAP_HASH,
  mapType.CPUMAP,
  mapType.XSKMAP,
  mapType.SOCKMAP,
  mapType.SOCKHASH,
  mapType.QUEUE,
  mapType.STACK,
  mapType.RINGBUF,
  mapType.BLOOM_FILTER,
]);

/** `__uint(name, N)` is a pointer to an array of N; `__ulong(name, N)` an enum with one value. */
function attribute(btf: Btf, typeId: number, map: string, name: string): number {
  const type = resolveType(btf, typeId);
  const array = type.kind === 'pointer' ? resolveType(btf, type.typeId) : type;
  if (type.kind === 'pointer' && array.kind === 'array') return array.elements;
  const value = type.values[0]?.value;
  if (value === undefined)
    throw new BpfObjectError(`read map "${map}": attribute "${name}" is neither __uint nor __ulong`);
  return Number(value);
}

function pointerTarget(btf: Btf, typeId: number, map: string): number {
  const type = resolveType(btf, typeId);
  if (type.kind !== 'pointer')
    throw new BpfObjectError(`read map "${map}": key and value are declared with __type`);
  return type.typeId;
}

/** What `__array(values, T)` holds: the definition of the inner maps, or undefined for programs. */
function innerDefinition(btf: Btf, typeId: number, map: string): MapSpec | undefined {
  const pointer = resolveType(btf, resolveType(btf, typeId).typeId);
  const target = pointer.kind === 'pointer' ? resolveType(btf, pointer.typeId) : undefined;
  if (target?.kind === 'prototype') return undefined;
  if (target?.kind !== 'struct' || target.members.some((member) => member.name === 'values'))
    throw new BpfObjectError(`read map "${map}": values are declared with __array of a map or a program`);
  return readDefinition(btf, target, `${map}.inner`);
}

/** Slots initialised in the source (`.values = { [0] = &inner }`): relocations on the definition. */
function readSlots(
  elf: Elf,
  section: ElfSection,
  btf: Btf,
  definition: BtfType,
  offset: number,
  name: string,
): MapSpec['values'] {
  const member = definition.members.find((member) => member.name === 'values');
  if (!member) return [];
  const start = offset + member.bitOffset / 8;
  const end = Math.max(
    offset + definition.size,
    start + typeSize(btf, member.typeId),
    nextDefinition(btf, offset, section),
  );
  return (elf.relocations.get(section.index) ?? [])
    .filter((relocation) => relocation.offset >= start && relocation.offset < end)
    .map((relocation) => {
      if (relocation.type !== R_BPF_64_ABS64)
        throw new BpfObjectError(`read map "${name}": relocation type ${relocation.type} in its values`);
      const isMap = relocation.symbol.sectionIndex === section.index;
      return {
        slot: (relocation.offset - start) / 8,
        kind: isMap ? ('map' as const) : ('program' as const),
        name: relocation.symbol.name,
      };
    });
}

/** Where the definition after the one at `offset` starts; a flexible array has no size of its own in BTF. */
function nextDefinition(btf: Btf, offset: number, section: ElfSection): number {
  const list = btf.types.find((type) => type.kind === 'section' && type.name === '.maps');
  return list?.variables.find((variable) => variable.offset > offset)?.offset ?? section.size;
}

/** Makes maps of the sections that hold global variables and constants. */
export function readDataSections(elf: Elf, btf: Btf | undefined): DataSections {
  const maps: MapSpec[] = [];
  const bySection = new Map<number, string>();
  const variables: Record<string, VariableSpec> = {};
  for (const section of elf.sections) {
    if (!isDataSection(section)) continue;
    if (section.size > largestDataSection)
      throw new BpfObjectError(`read object: section "${section.name}" claims ${section.size} bytes`);
    if ((elf.relocations.get(section.index)?.length ?? 0) > 0)
      throw new BpfObjectError(
        `read object: section "${section.name}" holds addresses, which is not supported`,
      );
    const list = btf?.types.find((type) => type.kind === 'section' && type.name === section.name);
    const constant = section.name.startsWith('.rodata');
    bySection.set(section.index, section.name);
    maps.push({
      name: section.name,
      type: mapType.ARRAY,
      keySize: 4,
      valueSize: section.size,
      maxEntries: 1,
      flags: mapFlag.MMAPABLE | (constant ? mapFlag.RDONLY_PROG : 0),
      mapExtra: 0,
      pinning: 'none',
      keyTypeId: 0,
      valueTypeId: list?.id ?? 0,
      values: [],
      contents: section.type === SHT_NOBITS ? Buffer.alloc(section.size) : section.data,
      constant,
    });
    for (const { typeId, offset, size } of list?.variables ?? []) {
      const variable = typeById(btf!, typeId);
      if (offset + size > section.size)
        throw new BpfObjectError(`read BTF: variable "${variable.name}" lies outside "${section.name}"`);
      variables[variable.name] = { map: section.name, offset, size, typeId: variable.typeId };
    }
  }
  return { maps, bySection, variables };
}

function isDataSection(section: ElfSection): boolean {
  if (section.size === 0 || (section.flags & SHF_EXECINSTR) !== 0) return false;
  if (section.type !== SHT_PROGBITS && section.type !== SHT_NOBITS) return false;
  return /^\.(rodata|data|bss)(\.|$)/.test(section.name);
}
