import { errnoByName } from '../errno.ts';
import { closeFd, type Mapping, SystemError } from '../ffi.ts';
import { bpf, newAttributes, putAddress } from './call.ts';
import { BpfObjectError } from './errors.ts';
import { createMap, type MapHandle, openMap } from './map.ts';
import type { ObjectSpec } from './object.ts';
import { sanitiseBtf } from './object-btf.ts';
import type { MapSpec, ProgramSpec } from './object-parts.ts';
import { loadProgram, loadProgramAside, type ProgramEnvironment, type ProgramHandle } from './program.ts';
import { encodeVariable, type VariableValue } from './variable.ts';

export type LoadOptions = {
  /** By map name; data sections are named like '.rodata', '.data', '.bss'. */
  readonly maps?: Readonly<Record<string, MapOverride>>;
  /** Initial values of global variables by name; constants are frozen with them, and dead code is pruned. */
  readonly variables?: Readonly<Record<string, VariableValue>>;
  /** Programs to load; default: all. Maps are always all created. */
  readonly programs?: readonly string[];
  /** Put before the names the kernel shows (bpftool); 15 characters are kept in all. */
  readonly namePrefix?: string;
};

export type MapOverride = {
  readonly maxEntries?: number;
  readonly flags?: number;
  /** Use this open map instead of creating one. It stays the caller's to close; its contents are left alone. */
  readonly fd?: number;
};

export type LoadedObject = {
  readonly maps: Readonly<Record<string, MapHandle>>;
  readonly programs: Readonly<Record<string, ProgramHandle>>;
  /** The memory of a global variable, shared with the programs; constants can only be read. */
  variable(name: string): DataView<ArrayBuffer>;
  /** Closes every descriptor this load opened. What is pinned or attached lives on. */
  close(): void;
};

/**
 * Creates an object's maps and loads its programs. Nothing is left behind when it fails: BpfObjectError (an override
 * does not fit), SystemError (the kernel refuses a map), VerifierError (it refuses a program).
 */
export function loadObject(spec: ObjectSpec, options: LoadOptions = {}): LoadedObject {
  const begun = beginObject(spec, options);
  try {
    for (const program of begun.wanted) begun.add(loadProgram(program, begun.environment));
    return begun.finish();
  } catch (error) {
    begun.close();
    throw error;
  }
}

/**
 * The same with the programs loaded in threads of their own, all at once: the maps are made when this returns, and the
 * verifier is at work. Rejects with what `loadObject` throws.
 */
export async function loadObjectAside(spec: ObjectSpec, options: LoadOptions = {}): Promise<LoadedObject> {
  const begun = beginObject(spec, options);
  const loaded = await Promise.allSettled(
    begun.wanted.map((program) => loadProgramAside(program, begun.environment)),
  );
  for (const one of loaded) if (one.status === 'fulfilled') begun.add(one.value);
  try {
    const refused = loaded.find((one) => one.status === 'rejected');
    if (refused) throw refused.reason;
    return begun.finish();
  } catch (error) {
    begun.close();
    throw error;
  }
}

/** An object whose maps are made and whose programs are to be loaded. */
type BegunObject = {
  readonly wanted: readonly ProgramSpec[];
  readonly environment: ProgramEnvironment;
  add(program: ProgramHandle): void;
  /** All programs are there. */
  finish(): LoadedObject;
  close(): void;
};

function beginObject(spec: ObjectSpec, options: LoadOptions): BegunObject {
  refuseUnknownNames(spec, options);
  const opened: (() => void)[] = [];
  const close = () => {
    for (const release of opened.splice(0).reverse()) release();
  };
  const maps: Record<string, MapHandle> = {};
  const programs: Record<string, ProgramHandle> = {};
  const namePrefix = options.namePrefix ?? '';
  try {
    const btfFd = spec.btf ? loadBtf(spec.btf.bytes, () => sanitiseBtf(spec.btf!)) : undefined;
    let closeBtf = () => {
      if (btfFd !== undefined) closeFd(btfFd);
      closeBtf = () => undefined;
    };
    opened.push(() => closeBtf());
    for (const map of Object.values(spec.maps)) {
      const override = options.maps?.[map.name] ?? {};
      if (override.fd !== undefined) {
        maps[map.name] = reuseMap(map, override.fd);
        continue;
      }
      const handle = newMap(withOverride(map, override), btfFd, namePrefix);
      maps[map.name] = handle;
      opened.push(handle.close);
      fillDataSection(spec, map, handle, options.variables ?? {});
    }
    const isWanted = ({ name }: ProgramSpec) => options.programs?.includes(name) ?? true;
    return {
      wanted: Object.values(spec.programs).filter(isWanted),
      environment: { license: spec.license, maps, btfFd, namePrefix },
      add(program) {
        programs[program.name] = program;
        opened.push(program.close);
      },
      finish() {
        closeBtf();
        for (const map of Object.values(spec.maps)) {
          if (options.maps?.[map.name]?.fd === undefined) fillSlots(map, maps, programs);
        }
        return loadedObject(spec, maps, programs, { opened, close });
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function loadedObject(
  spec: ObjectSpec,
  maps: LoadedObject['maps'],
  programs: LoadedObject['programs'],
  { opened, close }: { readonly opened: (() => void)[]; readonly close: () => void },
): LoadedObject {
  const memory = new Map<string, Mapping>();
  opened.push(() => {
    for (const mapping of memory.values()) mapping.close();
  });
  return {
    maps,
    programs,
    variable(name) {
      const found = spec.variables[name];
      const map = found && maps[found.map];
      if (!found || !map)
        throw new BpfObjectError(`read variable "${name}": the object has none of that name`);
      let mapping = memory.get(found.map);
      if (!mapping) {
        mapping = map.mmap(spec.maps[found.map]!.constant ? 'read' : 'read-write');
        memory.set(found.map, mapping);
      }
      return new DataView(mapping.buffer, found.offset, found.size);
    },
    close,
  };
}

function refuseUnknownNames(spec: ObjectSpec, options: LoadOptions): void {
  const check = (kind: string, wanted: Iterable<string>, known: object) => {
    for (const name of wanted) {
      if (!Object.hasOwn(known, name)) throw new BpfObjectError(`load object: it has no ${kind} "${name}"`);
    }
  };
  check('map', Object.keys(options.maps ?? {}), spec.maps);
  check('variable', Object.keys(options.variables ?? {}), spec.variables);
  check('program', options.programs ?? [], spec.programs);
}

/** BPF_BTF_LOAD, without the newer kinds when the kernel refuses them; undefined when it takes none at all. */
function loadBtf(bytes: Buffer, sanitised: () => Buffer): number | undefined {
  for (const candidate of [() => bytes, sanitised]) {
    const data = candidate();
    const attributes = newAttributes(32);
    putAddress(attributes, 0, data);
    attributes.writeUInt32LE(data.length, 16);
    try {
      return bpf('BTF_LOAD', attributes, 'load BTF', data);
    } catch (error) {
      if (!(error instanceof SystemError) || error.code !== 'EINVAL') throw error;
    }
  }
  return undefined;
}

function withOverride(map: MapSpec, override: MapOverride): MapSpec {
  return { ...map, maxEntries: override.maxEntries ?? map.maxEntries, flags: override.flags ?? map.flags };
}

function newMap(map: MapSpec, btfFd: number | undefined, prefix: string): MapHandle {
  const inner = map.inner && newMap(map.inner, btfFd, prefix);
  const creation = { ...map, shownAs: prefix + map.name, ...(inner && { innerFd: inner.fd }) };
  try {
    return createMap(btfFd === undefined ? creation : { ...creation, btfFd });
  } catch (error) {
    // A kernel may know the type but not describe it; the description is worth less than the map.
    if (btfFd === undefined || !(error instanceof SystemError) || error.errno !== errnoByName.EINVAL)
      throw error;
    try {
      return createMap(creation);
    } catch {
      throw error;
    }
  } finally {
    inner?.close();
  }
}

function reuseMap(map: MapSpec, fd: number): MapHandle {
  const handle = openMap(fd);
  for (const property of ['type', 'keySize', 'valueSize'] as const) {
    if (handle[property] !== map[property])
      throw new BpfObjectError(
        `reuse map "${map.name}": wanted ${property} ${map[property]}, found ${handle[property]}`,
      );
  }
  return handle;
}

function fillDataSection(
  spec: ObjectSpec,
  map: MapSpec,
  handle: MapHandle,
  values: Readonly<Record<string, VariableValue>>,
): void {
  if (!map.contents) return;
  const contents = Buffer.from(map.contents);
  for (const [name, value] of Object.entries(values)) {
    const variable = spec.variables[name]!;
    if (variable.map === map.name) encodeVariable(spec.btf!, name, variable, value, contents);
  }
  handle.update(0, contents);
  if (map.constant) handle.freeze();
}

function fillSlots(
  map: MapSpec,
  maps: Readonly<Record<string, MapHandle>>,
  programs: Readonly<Record<string, ProgramHandle>>,
): void {
  for (const { slot, kind, name } of map.values) {
    const fd = kind === 'map' ? maps[name]?.fd : programs[name]?.fd;
    // A program that was not asked for leaves its slot empty: a tail call to it falls through.
    if (fd === undefined && kind === 'program') continue;
    if (fd === undefined) throw new BpfObjectError(`fill map "${map.name}": there is no map "${name}"`);
    const value = Buffer.alloc(4);
    value.writeInt32LE(fd, 0);
    maps[map.name]!.update(slot, value);
  }
}
