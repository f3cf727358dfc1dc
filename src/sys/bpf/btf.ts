import { stringAt } from './elf.ts';
import { BpfObjectError } from './errors.ts';

/** BTF kinds by number (Documentation/bpf/btf.rst). */
const kinds = [
  'void',
  'int',
  'pointer',
  'array',
  'struct',
  'union',
  'enum',
  'forward',
  'typedef',
  'volatile',
  'const',
  'restrict',
  'function',
  'prototype',
  'variable',
  'section',
  'float',
  'declaration-tag',
  'type-tag',
  'enum64',
] as const;

export type BtfKind = (typeof kinds)[number];

export type BtfMember = {
  readonly name: string;
  readonly typeId: number;
  readonly bitOffset: number;
  /** Width of a bit field, 0 for an ordinary member. */
  readonly bitFieldSize: number;
};

export type BtfType = {
  readonly id: number;
  readonly kind: BtfKind;
  readonly name: string;
  /** Where the type's record starts, within the whole BTF blob. */
  readonly position: number;
  /** Bytes, for the kinds that have a size of their own. */
  readonly size: number;
  /** The type referred to, for the kinds that refer to one. */
  readonly typeId: number;
  /** The `vlen` field: linkage for a function, a count for most others. */
  readonly vlen: number;
  readonly isSigned: boolean;
  readonly isBool: boolean;
  /** Of a struct or union. */
  readonly members: readonly BtfMember[];
  /** Of an enum or enum64. */
  readonly values: readonly { readonly name: string; readonly value: bigint }[];
  /** Of a data section. */
  readonly variables: readonly { readonly typeId: number; readonly offset: number; readonly size: number }[];
  /** Of an array. */
  readonly elements: number;
};

export type Btf = {
  readonly bytes: Buffer;
  /** By type id; id 0 is void. */
  readonly types: readonly BtfType[];
};

const BTF_MAGIC = 0xeb9f;

/** Bytes that follow the common 12 of a type record: fixed, and per element. */
const extraBytes: Partial<Record<BtfKind, readonly [fixed: number, each: number]>> = {
  int: [4, 0],
  array: [12, 0],
  struct: [0, 12],
  union: [0, 12],
  enum: [0, 8],
  prototype: [0, 8],
  variable: [4, 0],
  section: [0, 12],
  'declaration-tag': [4, 0],
  enum64: [0, 12],
};

const sizedKinds: ReadonlySet<BtfKind> = new Set([
  'int',
  'struct',
  'union',
  'enum',
  'section',
  'float',
  'enum64',
]);

/** Reads BTF (an object's .BTF section or what the kernel gives back). Throws BpfObjectError when it is malformed. */
export function parseBtf(source: Uint8Array): Btf {
  const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  if (bytes.length < 24 || bytes.readUInt16LE(0) !== BTF_MAGIC)
    throw new BpfObjectError('read BTF: it has no BTF header');
  const headerLength = bytes.readUInt32LE(4);
  const typesStart = headerLength + bytes.readUInt32LE(8);
  const typesEnd = typesStart + bytes.readUInt32LE(12);
  const stringsStart = headerLength + bytes.readUInt32LE(16);
  const stringsEnd = stringsStart + bytes.readUInt32LE(20);
  if (typesEnd > bytes.length || stringsEnd > bytes.length)
    throw new BpfObjectError('read BTF: its types or strings lie outside the section');
  const strings = bytes.subarray(stringsStart, stringsEnd);
  const types: BtfType[] = [voidType];
  for (let at = typesStart; at < typesEnd; ) {
    if (at + 12 > typesEnd) throw new BpfObjectError(`read BTF: type ${types.length} is cut off`);
    const info = bytes.readUInt32LE(at + 4);
    const vlen = info & 0xffff;
    const kind = kinds[(info >>> 24) & 31];
    if (!kind || kind === 'void')
      throw new BpfObjectError(`read BTF: type ${types.length} has the unknown kind ${(info >>> 24) & 31}`);
    const [fixed, each] = extraBytes[kind] ?? [0, 0];
    const next = at + 12 + fixed + each * vlen;
    if (next > typesEnd) throw new BpfObjectError(`read BTF: type ${types.length} is cut off`);
    types.push(readType(bytes, strings, types.length, kind, at));
    at = next;
  }
  return { bytes, types };
}

const voidType: BtfType = {
  id: 0,
  kind: 'void',
  name: 'void',
  position: 0,
  size: 0,
  typeId: 0,
  vlen: 0,
  isSigned: false,
  isBool: false,
  members: [],
  values: [],
  variables: [],
  elements: 0,
};

function readType(bytes: Buffer, strings: Buffer, id: number, kind: BtfKind, at: number): BtfType {
  const info = bytes.readUInt32LE(at + 4);
  const vlen = info & 0xffff;
  const kindFlag = info >>> 31 === 1;
  const sizeOrType = bytes.readUInt32LE(at + 8);
  const base = {
    ...voidType,
    id,
    kind,
    name: stringAt(strings, bytes.readUInt32LE(at)),
    position: at,
    vlen,
    size: sizedKinds.has(kind) ? sizeOrType : 0,
    typeId: sizedKinds.has(kind) ? 0 : sizeOrType,
  };
  const u32 = (index: number) => bytes.readUInt32LE(at + 12 + index * 4);
  const list = <T>(read: (index: number) => T) => Array.from({ length: vlen }, (_, index) => read(index));
  switch (kind) {
    case 'int': {
      const encoding = (u32(0) >>> 24) & 15;
      return { ...base, isSigned: (encoding & 1) !== 0, isBool: (encoding & 4) !== 0 };
    }
    case 'array':
      return { ...base, typeId: u32(0), elements: u32(2) };
    case 'struct':
    case 'union': {
      const members = list((index) => {
        const offset = u32(index * 3 + 2);
        return {
          name: stringAt(strings, u32(index * 3)),
          typeId: u32(index * 3 + 1),
          bitOffset: kindFlag ? offset & 0xffffff : offset,
          bitFieldSize: kindFlag ? offset >>> 24 : 0,
        };
      });
      return { ...base, members };
    }
    case 'enum': {
      const values = list((index) => ({
        name: stringAt(strings, u32(index * 2)),
        value: BigInt(kindFlag ? u32(index * 2 + 1) | 0 : u32(index * 2 + 1)),
      }));
      return { ...base, isSigned: kindFlag, values };
    }
    case 'enum64': {
      const values = list((index) => {
        const raw = BigInt(u32(index * 3 + 1)) | (BigInt(u32(index * 3 + 2)) << 32n);
        return { name: stringAt(strings, u32(index * 3)), value: kindFlag ? BigInt.asIntN(64, raw) : raw };
      });
      return { ...base, isSigned: kindFlag, values };
    }
    case 'section': {
      const variables = list((index) => ({
        typeId: u32(index * 3),
        offset: u32(index * 3 + 1),
        size: u32(index * 3 + 2),
      }));
      return { ...base, variables };
    }
    default:
      return base;
  }
}

const transparentKinds: ReadonlySet<BtfKind> = new Set([
  'typedef',
  'volatile',
  'const',
  'restrict',
  'type-tag',
]);

/** The type of a number. Throws BpfObjectError where there is none. */
export function typeById(btf: Btf, id: number): BtfType {
  const type = btf.types[id];
  if (!type) throw new BpfObjectError(`read BTF: there is no type ${id}`);
  return type;
}

/** A type behind its typedefs and qualifiers. */
export function resolveType(btf: Btf, id: number): BtfType {
  let type = typeById(btf, id);
  for (let steps = 0; transparentKinds.has(type.kind); steps++) {
    if (steps > 64) throw new BpfObjectError(`read BTF: type ${id} refers to itself`);
    type = typeById(btf, type.typeId);
  }
  return type;
}

/** Size of a type in bytes (arrays and typedefs included); 0 for void, functions and forward declarations. */
export function typeSize(btf: Btf, id: number): number {
  let count = 1;
  let type = resolveType(btf, id);
  for (let depth = 0; type.kind === 'array'; depth++) {
    if (depth > 64) throw new BpfObjectError(`read BTF: type ${id} refers to itself`);
    count *= type.elements;
    type = resolveType(btf, type.typeId);
  }
  return count * (type.kind === 'pointer' ? 8 : type.size);
}
