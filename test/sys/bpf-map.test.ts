import { afterEach, expect, it } from 'vitest';
import { possibleCpus } from '../../src/sys/bpf/cpus.ts';
import {
  alignedValueSize,
  createMap,
  joinPerCpu,
  type MapHandle,
  splitPerCpu,
} from '../../src/sys/bpf/map.ts';
import { mapFlag, mapType, updateFlag } from '../../src/sys/bpf/uapi.ts';
import { requires } from '../requirements.ts';
import { bpftool } from './bpf-support.ts';

requires(
  'root',
  'bpf',
  'bpftool',
)('maps', () => {
  const maps: MapHandle[] = [];
  afterEach(() => {
    for (const map of maps.splice(0)) map.close();
  });
  const create = (type: number, keySize: number, valueSize: number, maxEntries: number, flags = 0) => {
    const map = createMap({ name: 'hgbpf_test', type, keySize, valueSize, maxEntries, flags });
    maps.push(map);
    return map;
  };
  const u32 = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  /** What bpftool sees: hexadecimal byte strings. */
  const dump = (map: MapHandle) =>
    bpftool<{ key: string[]; value: string[] }[]>('map', 'dump', 'id', String(map.info().id))
      .map(({ key, value }) => `${bytes(key)}=${bytes(value)}`)
      .sort();
  const bytes = (list: string[]) => list.map((byte) => byte.slice(2)).join('');

  it('stores and returns values as bpftool sees them', () => {
    const map = create(mapType.HASH, 4, 6, 8);
    map.update(1, Buffer.from('aabbccddeeff', 'hex'));
    map.update(u32(2), Buffer.from('010203040506', 'hex'));
    expect(dump(map)).toEqual(['01000000=aabbccddeeff', '02000000=010203040506']);
    expect(map.lookup(2)?.toString('hex')).toBe('010203040506');
    expect(map.lookup(3)).toBeUndefined();
    expect([map.delete(1), map.delete(1)]).toEqual([true, false]);
    expect(map.take(2)?.toString('hex')).toBe('010203040506');
    expect(dump(map)).toEqual([]);
  });

  it('says why an update is refused', () => {
    const map = create(mapType.HASH, 4, 4, 2);
    expect(() => map.update(1, u32(1), updateFlag.EXIST)).toThrow(/write map "hgbpf_test": ENOENT/);
    map.update(1, u32(1));
    expect(() => map.update(1, u32(1), updateFlag.NOEXIST)).toThrow(/EEXIST/);
    map.update(2, u32(1));
    expect(() => map.update(3, u32(1))).toThrow(/E2BIG/);
    expect(() => map.update(Buffer.alloc(3), u32(1))).toThrow('wanted a key of 4 bytes, found 3');
    expect(() => map.update(1, Buffer.alloc(5))).toThrow('wanted a value of 4 bytes, found 5');
  });

  it.each([
    ['hash', mapType.HASH, 20_000, 0],
    ['hash without preallocation', mapType.HASH, 20_000, mapFlag.NO_PREALLOC],
    ['LRU hash', mapType.LRU_HASH, 200_000, 0],
    ['array', mapType.ARRAY, 5000, 0],
    ['LPM trie', mapType.LPM_TRIE, 20_000, mapFlag.NO_PREALLOC],
  ])('returns every entry of a %s once, batch size no matter', (_, type, maxEntries, flags) => {
    const map = create(type, type === mapType.ARRAY ? 4 : 8, 4, maxEntries, flags);
    const expected = new Map<string, number>();
    for (let index = 0; index < 5000; index++) {
      const key = Buffer.alloc(map.keySize);
      if (type === mapType.LPM_TRIE) key.writeUInt32LE(32, 0);
      key.writeUInt32BE(index * 7, map.keySize - 4);
      if (type === mapType.ARRAY) key.writeUInt32LE(index);
      map.update(key, u32(index + 1));
      expected.set(key.toString('hex'), index + 1);
    }
    for (const size of [1, 7, 1024, 100_000]) {
      const found: [string, number][] = [];
      for (const { count, keys, values } of map.batches(size)) {
        for (let index = 0; index < count; index++) {
          const key = keys.toString('hex', index * map.keySize, (index + 1) * map.keySize);
          found.push([key, values.readUInt32LE(index * 4)]);
        }
      }
      expect(found.length, `batches of ${size}`).toBe(5000);
      expect(new Map(found)).toEqual(expected);
    }
    expect([...map.keys()].map((key) => key.toString('hex')).sort()).toEqual([...expected.keys()].sort());
    expect(
      new Map([...map.entries()].map(([key, value]) => [key.toString('hex'), value.readUInt32LE()])),
    ).toEqual(expected);
  });

  it('walks an empty map', () => {
    const map = create(mapType.HASH, 4, 4, 10);
    expect([...map.entries()]).toEqual([]);
    expect(map.nextKey()).toBeUndefined();
  });

  it('keeps one value per possible CPU', () => {
    const map = create(mapType.PERCPU_HASH, 4, 6, 4);
    const values = Array.from({ length: possibleCpus() }, (_, cpu) => Buffer.alloc(6, cpu + 1));
    map.update(9, joinPerCpu(map, values));
    const [entry] = bpftool<{ values: { cpu: number; value: string[] }[] }[]>(
      'map',
      'dump',
      'id',
      String(map.info().id),
    );
    expect(entry!.values.map(({ value }) => bytes(value))).toEqual(
      values.map((value) => value.toString('hex')),
    );
    expect(splitPerCpu(map, map.lookup(9)!)).toEqual(values);
    for (const [key, value] of map.entries()) {
      expect(key.readUInt32LE()).toBe(9);
      expect(splitPerCpu(map, value)).toEqual(values);
    }
  });

  it('shares the memory of an mmapable array', () => {
    const map = create(mapType.ARRAY, 4, 12, 1000, mapFlag.MMAPABLE);
    const memory = map.mmap();
    const words = new Int32Array(memory.buffer);
    const at = (index: number) => (index * alignedValueSize(map)) / 4;
    words[at(999) + 2] = 0x01020304;
    expect(Atomics.add(words, at(3), 5)).toBe(0);
    expect(Atomics.compareExchange(words, at(3), 5, 6)).toBe(5);
    expect(map.lookup(999)?.toString('hex')).toBe('000000000000000004030201');
    expect(map.lookup(3)?.readInt32LE()).toBe(6);
    map.update(4, Buffer.alloc(12, 0xff));
    expect(Atomics.load(words, at(4))).toBe(-1);
    memory.close();
    memory.close();
    // What was mapped is gone, and touching it is harmless.
    expect(words[at(4)]).toBe(0);
    words[at(4)] = 7;
    expect(map.lookup(4)?.readInt32LE()).toBe(-1);
  });

  it('freezes', () => {
    const map = create(mapType.ARRAY, 4, 4, 1, mapFlag.MMAPABLE);
    map.freeze();
    expect(() => map.update(0, u32(1))).toThrow(/EPERM/);
    expect(() => map.mmap()).toThrow(/mmap map "hgbpf_test" into memory: EPERM/);
    expect(new Uint32Array(map.mmap('read').buffer)[0]).toBe(0);
  });

  it('has queues without keys', () => {
    const map = create(mapType.QUEUE, 0, 4, 4);
    map.update(Buffer.alloc(0), u32(1));
    map.update(Buffer.alloc(0), u32(2));
    expect(map.take(Buffer.alloc(0))?.readUInt32LE()).toBe(1);
    expect(map.take(Buffer.alloc(0))?.readUInt32LE()).toBe(2);
    expect(map.take(Buffer.alloc(0))).toBeUndefined();
  });

  it('keeps its buffers alive under memory pressure', () => {
    const map = create(mapType.HASH, 4, 4096, 64);
    const junk: Buffer[] = [];
    for (let round = 0; round < 20_000; round++) {
      map.update(round % 64, Buffer.alloc(4096, round & 255));
      if (map.lookup(round % 64)![4095] !== (round & 255)) throw new Error(`round ${round} is damaged`);
      junk.push(Buffer.alloc(1024));
      if (junk.length > 500) junk.length = 0;
    }
    expect(map.lookup(0)).toHaveLength(4096);
  });
});
