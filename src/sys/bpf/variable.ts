import { type Btf, resolveType } from './btf.ts';
import { BpfObjectError } from './errors.ts';
import type { VariableSpec } from './object-parts.ts';

/** A scalar for an integer, boolean or enum; bytes, of exactly the variable's size, for anything. */
export type VariableValue = number | bigint | boolean | Uint8Array;

/** Writes a value into a section's contents. Throws BpfObjectError when it does not fit the variable's type. */
export function encodeVariable(
  btf: Btf,
  name: string,
  variable: VariableSpec,
  value: VariableValue,
  contents: Buffer,
): void {
  const { offset, size } = variable;
  if (value instanceof Uint8Array) {
    if (value.byteLength !== size)
      throw new BpfObjectError(`set variable "${name}": wanted ${size} bytes, found ${value.byteLength}`);
    contents.set(value, offset);
    return;
  }
  const type = resolveType(btf, variable.typeId);
  if (!['int', 'enum', 'enum64'].includes(type.kind))
    throw new BpfObjectError(
      `set variable "${name}": wanted ${size} bytes for a ${type.kind}, found a ${typeof value}`,
    );
  const number = BigInt(value);
  const bits = size * 8;
  if (BigInt.asUintN(bits, number) !== number && BigInt.asIntN(bits, number) !== number)
    throw new BpfObjectError(`set variable "${name}": ${value} does not fit ${bits} bits`);
  for (let index = 0; index < size; index++) {
    contents[offset + index] = Number((number >> BigInt(index * 8)) & 0xffn);
  }
}
