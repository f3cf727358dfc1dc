import type { Btf } from './btf.ts';
import { parseBtf } from './btf.ts';
import { type BtfExt, parseBtfExt } from './btf-ext.ts';
import { type Elf, parseElf, stringAt } from './elf.ts';
import { BpfObjectError } from './errors.ts';
import { completeBtf } from './object-btf.ts';
import { readDataSections, readMapDefinitions } from './object-maps.ts';
import type { MapSpec, ProgramSpec, VariableSpec } from './object-parts.ts';
import { linkPrograms } from './object-programs.ts';

/** An object file, read: its maps, programs and global variables by name. */
export type ObjectSpec = {
  readonly license: string;
  readonly btf: Btf | undefined;
  readonly maps: Readonly<Record<string, MapSpec>>;
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  readonly variables: Readonly<Record<string, VariableSpec>>;
};

/**
 * Reads an object built by `clang -O2 -g -target bpf`; of its programs those in `programs`, or all. The outcome depends on the bytes alone, not on the machine.
 * Throws BpfObjectError: malformed, or using what is not supported (CO-RE, kfuncs, .kconfig, legacy `maps` sections).
 */
export function parseObject(bytes: Uint8Array, programs?: readonly string[]): ObjectSpec {
  try {
    return parse(bytes, programs);
  } catch (error) {
    // Fields of a damaged file may point anywhere; Buffer's own range checks catch what the readers do not.
    if (error instanceof RangeError)
      throw new BpfObjectError(`read object: a field points outside its section (${error.message})`);
    throw error;
  }
}

function parse(bytes: Uint8Array, programs?: readonly string[]): ObjectSpec {
  const elf = parseElf(bytes);
  refuseUnsupported(elf);
  const btfSection = elf.sections.find((section) => section.name === '.BTF');
  const btf = btfSection ? completeBtf(parseBtf(btfSection.data), elf) : undefined;
  const extSection = elf.sections.find((section) => section.name === '.BTF.ext');
  const ext: BtfExt | undefined = btf && extSection ? parseBtfExt(extSection.data, btf) : undefined;
  if (ext && ext.coreRelocations > 0)
    throw new BpfObjectError('read object: it has CO-RE relocations; build it against UAPI headers only');
  const defined = readMapDefinitions(elf, btf);
  const data = readDataSections(elf, btf);
  const license = elf.sections.find((section) => section.name === 'license');
  return {
    license: license ? stringAt(license.data, 0) : '',
    btf,
    maps: Object.fromEntries([...defined.maps, ...data.maps].map((map) => [map.name, map])),
    programs: Object.fromEntries(
      linkPrograms(elf, ext, defined, data, programs).map((program) => [program.name, program]),
    ),
    variables: data.variables,
  };
}

function refuseUnsupported(elf: Elf): void {
  for (const { name } of elf.sections) {
    if (name === 'maps' || name.startsWith('maps/'))
      throw new BpfObjectError(
        `read object: section "${name}" holds legacy maps; declare them in SEC(".maps")`,
      );
    if (name === '.kconfig' || name.startsWith('.struct_ops'))
      throw new BpfObjectError(`read object: section "${name}" is not supported`);
  }
}
