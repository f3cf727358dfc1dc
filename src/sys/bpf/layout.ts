import { type Btf, type BtfMember, type BtfType, resolveType, typeSize } from './btf.ts';
import { BpfObjectError } from './errors.ts';

export type FieldKind = 'int' | 'bool' | 'enum' | 'pointer' | 'struct' | 'union' | 'float';

export type FieldLayout = {
  /** Bytes from the start of the struct asked for (members of anonymous members are listed as its own). */
  readonly offset: number;
  /** Bytes of the whole field. */
  readonly size: number;
  /** Kind of one element. */
  readonly kind: FieldKind;
  readonly isSigned: boolean;
  /** Elements of an array (all dimensions together); 1 for anything else. */
  readonly count: number;
  readonly elementSize: number;
  /** Layout of one element of a struct or union kind; offsets in it start at 0. */
  readonly nested?: StructLayout;
  /** Of a bit field: where it starts, in bits from `offset`, and its width. */
  readonly bits?: { readonly offset: number; readonly size: number };
};

export type StructLayout = { readonly size: number; readonly fields: Readonly<Record<string, FieldLayout>> };

/** Where the fields of `struct name` (or a union, or a typedef of one) lie. Throws BpfObjectError when there is none. */
export function structLayout(btf: Btf, name: string): StructLayout {
  const found =
    btf.types.find((type) => (type.kind === 'struct' || type.kind === 'union') && type.name === name) ??
    btf.types.find((type) => type.kind === 'typedef' && type.name === name);
  const type = found && resolveType(btf, found.id);
  if (!type || (type.kind !== 'struct' && type.kind !== 'union'))
    throw new BpfObjectError(`read BTF: there is no struct "${name}"`);
  return layoutOf(btf, type, 0, { left: mostFields });
}

/** The layout of a struct or union by type id, e.g. a map's value type. */
export function layoutById(btf: Btf, id: number): StructLayout {
  const type = resolveType(btf, id);
  if (type.kind !== 'struct' && type.kind !== 'union')
    throw new BpfObjectError(`read BTF: type ${id} is no struct but ${type.kind} "${type.name}"`);
  return layoutOf(btf, type, 0, { left: mostFields });
}

/** The enumerators of `enum name`. Throws BpfObjectError when there is none. */
export function enumValues(btf: Btf, name: string): Readonly<Record<string, number>> {
  const type = btf.types.find(
    (type) => (type.kind === 'enum' || type.kind === 'enum64') && type.name === name,
  );
  if (!type) throw new BpfObjectError(`read BTF: there is no enum "${name}"`);
  return Object.fromEntries(type.values.map(({ name, value }) => [name, Number(value)]));
}

/** Structs nest by value, so a sound BTF is never deeper than its source; a damaged one may contain itself. */
const deepestNesting = 16;
const mostFields = 4096;

type Budget = { left: number };

function layoutOf(btf: Btf, type: BtfType, depth: number, budget: Budget): StructLayout {
  const fields: Record<string, FieldLayout> = {};
  collect(btf, type, 0, depth, fields, budget);
  return { size: type.size, fields };
}

function collect(
  btf: Btf,
  type: BtfType,
  base: number,
  depth: number,
  fields: Record<string, FieldLayout>,
  budget: Budget,
): void {
  if (depth > deepestNesting) throw new BpfObjectError(`read BTF: struct "${type.name}" nests too deep`);
  for (const member of type.members) {
    if (budget.left-- <= 0) throw new BpfObjectError(`read BTF: struct "${type.name}" has too many fields`);
    const target = resolveType(btf, member.typeId);
    const isRecord = target.kind === 'struct' || target.kind === 'union';
    if (!member.name && isRecord) {
      collect(btf, target, base + member.bitOffset / 8, depth + 1, fields, budget);
    } else if (member.name) {
      fields[member.name] = fieldLayout(btf, member, base, depth, budget);
    }
  }
}

function fieldLayout(btf: Btf, member: BtfMember, base: number, depth: number, budget: Budget): FieldLayout {
  const size = typeSize(btf, member.typeId);
  let element = resolveType(btf, member.typeId);
  let count = 1;
  for (let dimensions = 0; element.kind === 'array' && dimensions < deepestNesting; dimensions++) {
    count *= element.elements;
    element = resolveType(btf, element.typeId);
  }
  const kind = fieldKind(element);
  const elementSize = typeSize(btf, element.id);
  const layout: FieldLayout = {
    offset: base + Math.floor(member.bitOffset / 8),
    size,
    kind,
    isSigned: element.isSigned,
    count,
    elementSize,
  };
  if (member.bitFieldSize > 0)
    return { ...layout, bits: { offset: member.bitOffset % 8, size: member.bitFieldSize } };
  if (kind === 'struct' || kind === 'union')
    return { ...layout, nested: layoutOf(btf, element, depth + 1, budget) };
  return layout;
}

function fieldKind(type: BtfType): FieldKind {
  switch (type.kind) {
    case 'int':
      return type.isBool ? 'bool' : 'int';
    case 'enum':
    case 'enum64':
      return 'enum';
    case 'pointer':
    case 'struct':
    case 'union':
    case 'float':
      return type.kind;
    default:
      throw new BpfObjectError(`read BTF: a ${type.kind} "${type.name}" cannot be a field`);
  }
}
