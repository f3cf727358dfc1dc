import { errnoByName } from '../errno.ts';
import { closeFd, type Mapping, mapMemory } from '../ffi.ts';
import { bpf, bpfError, newAttributes, prepareBpf, putAddress } from './call.ts';
import { possibleCpus } from './cpus.ts';
import { type MapInfo, mapInfo } from './info.ts';
import { lookupBatches, type MapBatch } from './map-batch.ts';
import { isPerCpuMap, updateFlag } from './uapi.ts';

/**
 * A BPF map that is open in this process. Keys and values are raw bytes of exactly the sizes below; a number may stand
 * for a 4-byte key. A value of a per-CPU map is one value per possible CPU, each padded to 8 bytes (`splitPerCpu`).
 */
export type MapHandle = {
  readonly fd: number;
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  /** Bytes of one value, of one CPU. */
  readonly valueSize: number;
  /** Bytes `lookup` returns and `update` takes. */
  readonly transferSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  info(): MapInfo;
  /** A copy of the value; undefined when there is none (or no key, for a queue or stack). */
  lookup(key: Uint8Array | number): Buffer | undefined;
  /** `flags` of `updateFlag`. Throws SystemError: EEXIST, ENOENT by flag, E2BIG when full. */
  update(key: Uint8Array | number, value: Uint8Array, flags?: number): void;
  /** Whether there was an entry. An array has no entries to delete (EINVAL). */
  delete(key: Uint8Array | number): boolean;
  /** Removes an entry and returns its value, in one step. */
  take(key: Uint8Array | number): Buffer | undefined;
  /** The key after `key` (undefined: the first); an unknown key counts as before the first. */
  nextKey(key?: Uint8Array): Buffer | undefined;
  /** Every key; entries inserted or deleted meanwhile may be missed or seen again. */
  keys(): Generator<Buffer>;
  /** Every entry, copied, in batches where the map has them. */
  entries(): Generator<[key: Buffer, value: Buffer]>;
  /** Entries many at a time, in memory that the next batch overwrites. */
  batches(size?: number): Generator<MapBatch>;
  /** The memory of an array created with MMAPABLE; values stand `alignedValueSize` apart. */
  mmap(access?: 'read' | 'read-write'): Mapping;
  /** No change from user space from here on. */
  freeze(): void;
  close(): void;
};

export type MapCreation = {
  readonly name: string;
  /** The name the kernel shows; default: `name`. Cut to 15 bytes. */
  readonly shownAs?: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
  readonly mapExtra?: number;
  /** A map of the shape a map of maps holds. */
  readonly innerFd?: number;
  readonly btfFd?: number;
  readonly keyTypeId?: number;
  readonly valueTypeId?: number;
};

/** A name the kernel takes: at most 15 bytes of letters, digits, `_` and `.`. */
export function kernelName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.]/g, '_').slice(0, 15);
}

/** BPF_MAP_CREATE. Throws SystemError. */
export function createMap(creation: MapCreation): MapHandle {
  const attributes = newAttributes(80);
  attributes.writeUInt32LE(creation.type, 0);
  attributes.writeUInt32LE(creation.keySize, 4);
  attributes.writeUInt32LE(creation.valueSize, 8);
  attributes.writeUInt32LE(creation.maxEntries, 12);
  attributes.writeUInt32LE(creation.flags ?? 0, 16);
  attributes.writeUInt32LE(creation.innerFd ?? 0, 20);
  attributes.write(kernelName(creation.shownAs ?? creation.name), 28, 15, 'latin1');
  attributes.writeUInt32LE(creation.btfFd ?? 0, 48);
  attributes.writeUInt32LE(creation.btfFd ? (creation.keyTypeId ?? 0) : 0, 52);
  attributes.writeUInt32LE(creation.btfFd ? (creation.valueTypeId ?? 0) : 0, 56);
  attributes.writeBigUInt64LE(BigInt(creation.mapExtra ?? 0), 64);
  const fd = bpf('MAP_CREATE', attributes, `create map "${creation.name}"`);
  return mapHandle(fd, { ...creation, flags: creation.flags ?? 0 });
}

/** A handle for a descriptor that is already open; what it is, the kernel says. */
export function openMap(fd: number): MapHandle {
  return mapHandle(fd, mapInfo(fd));
}

type Shape = Pick<MapInfo, 'name' | 'type' | 'keySize' | 'valueSize' | 'maxEntries' | 'flags'>;

const FD = 0;
const KEY = 8;
const VALUE = 16;
const FLAGS = 24;

function mapHandle(fd: number, shape: Shape): MapHandle {
  const { name, type, keySize, valueSize, maxEntries, flags } = shape;
  const transferSize = isPerCpuMap(type) ? alignTo8(valueSize) * possibleCpus() : valueSize;
  const what = `map "${name}"`;
  let scratch: Scratch | undefined;
  let open = true;

  // The key and value every call of this map goes through; their addresses are taken once.
  function memory(): Scratch {
    scratch ??= newScratch(fd, keySize, transferSize);
    return scratch;
  }
  function putKey(key: Uint8Array | number): Scratch {
    const target = memory();
    if (typeof key === 'number') {
      if (keySize !== 4) throw new TypeError(`use ${what}: wanted a key of ${keySize} bytes, found a number`);
      target.key.writeUInt32LE(key, 0);
    } else {
      if (key.byteLength !== keySize)
        throw new TypeError(`use ${what}: wanted a key of ${keySize} bytes, found ${key.byteLength}`);
      target.key.set(key);
    }
    return target;
  }
  function fetch(call: 'lookup' | 'take', key: Uint8Array | number): Buffer | undefined {
    const target = putKey(key);
    const result = target[call]();
    if (result >= 0) return Buffer.from(target.value);
    if (-result === errnoByName.ENOENT) return undefined;
    throw bpfError(
      call === 'lookup' ? 'MAP_LOOKUP_ELEM' : 'MAP_LOOKUP_AND_DELETE_ELEM',
      -result,
      `read ${what}`,
    );
  }

  const handle: MapHandle = {
    fd,
    name,
    type,
    keySize,
    valueSize,
    transferSize,
    maxEntries,
    flags,
    info: () => mapInfo(fd),
    lookup: (key) => fetch('lookup', key),
    take: (key) => fetch('take', key),
    update(key, value, updateFlags = updateFlag.ANY) {
      // Maps that hold descriptors or ids read the value as a 4-byte number.
      if (value.byteLength !== transferSize)
        throw new TypeError(
          `write ${what}: wanted a value of ${transferSize} bytes, found ${value.byteLength}`,
        );
      const target = putKey(key);
      target.value.set(value);
      target.updateAttributes.writeUInt32LE(updateFlags, FLAGS);
      const result = target.update();
      if (result < 0) throw bpfError('MAP_UPDATE_ELEM', -result, `write ${what}`);
    },
    delete(key) {
      const result = putKey(key).delete();
      if (result >= 0) return true;
      if (-result === errnoByName.ENOENT) return false;
      throw bpfError('MAP_DELETE_ELEM', -result, `delete from ${what}`);
    },
    nextKey(key) {
      const attributes = newAttributes(32);
      const next = Buffer.alloc(keySize);
      const from = key && Buffer.from(key);
      attributes.writeInt32LE(fd, FD);
      putAddress(attributes, KEY, from);
      putAddress(attributes, VALUE, next);
      const result = prepareBpf('MAP_GET_NEXT_KEY', attributes, [from, next])();
      if (result >= 0) return next;
      if (-result === errnoByName.ENOENT) return undefined;
      throw bpfError('MAP_GET_NEXT_KEY', -result, `walk ${what}`);
    },
    *keys() {
      for (let key = handle.nextKey(); key; key = handle.nextKey(key)) yield key;
    },
    *entries() {
      for (const { count, keys, values } of handle.batches()) {
        for (let index = 0; index < count; index++) {
          yield [
            Buffer.from(keys.subarray(index * keySize, (index + 1) * keySize)),
            Buffer.from(values.subarray(index * transferSize, (index + 1) * transferSize)),
          ];
        }
      }
    },
    batches: (size = 1024) => lookupBatches(handle, size),
    mmap: (access = 'read-write') =>
      mapMemory(fd, alignTo8(valueSize) * maxEntries, access, 0, `map "${name}" into memory`),
    freeze() {
      const attributes = newAttributes(16);
      attributes.writeInt32LE(fd, FD);
      bpf('MAP_FREEZE', attributes, `freeze ${what}`);
    },
    close() {
      if (!open) return;
      open = false;
      closeFd(fd);
    },
  };
  return handle;
}

type Scratch = {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly updateAttributes: Buffer;
  lookup(): number;
  take(): number;
  update(): number;
  delete(): number;
};

function newScratch(fd: number, keySize: number, transferSize: number): Scratch {
  const key = Buffer.alloc(keySize);
  const value = Buffer.alloc(transferSize);
  const attributes = () => {
    const block = newAttributes(32);
    block.writeInt32LE(fd, FD);
    // A queue or a stack has no key and wants a null pointer.
    putAddress(block, KEY, keySize > 0 ? key : undefined);
    putAddress(block, VALUE, value);
    return block;
  };
  const held = [key, value];
  const updateAttributes = attributes();
  const others = attributes();
  return {
    key,
    value,
    updateAttributes,
    lookup: prepareBpf('MAP_LOOKUP_ELEM', others, held),
    take: prepareBpf('MAP_LOOKUP_AND_DELETE_ELEM', others, held),
    update: prepareBpf('MAP_UPDATE_ELEM', updateAttributes, held),
    delete: prepareBpf('MAP_DELETE_ELEM', withoutValue(others), held),
  };
}

/** BPF_MAP_DELETE_ELEM refuses an attribute block with anything after the key. */
function withoutValue(attributes: Buffer): Buffer {
  const block = Buffer.from(attributes);
  block.fill(0, VALUE);
  return block;
}

function alignTo8(size: number): number {
  return Math.ceil(size / 8) * 8;
}

/** Distance between two values in the memory of an mmapable array. */
export function alignedValueSize(map: Pick<MapHandle, 'valueSize'>): number {
  return alignTo8(map.valueSize);
}

/** The values of each possible CPU, out of what `lookup` of a per-CPU map returned; views, not copies. */
export function splitPerCpu(map: Pick<MapHandle, 'valueSize'>, value: Buffer): Buffer[] {
  const stride = alignTo8(map.valueSize);
  return Array.from({ length: value.length / stride }, (_, cpu) =>
    value.subarray(cpu * stride, cpu * stride + map.valueSize),
  );
}

/** One value per possible CPU, as `update` of a per-CPU map takes it. */
export function joinPerCpu(map: Pick<MapHandle, 'valueSize'>, values: readonly Uint8Array[]): Buffer {
  const stride = alignTo8(map.valueSize);
  const joined = Buffer.alloc(stride * possibleCpus());
  values.slice(0, possibleCpus()).forEach((value, cpu) => {
    joined.set(value, cpu * stride);
  });
  return joined;
}
