import { afterAll, beforeAll, expect, it } from 'vitest';
import { kernelBtf } from '../../src/sys/bpf/info.ts';
import { enumValues, layoutById, structLayout } from '../../src/sys/bpf/layout.ts';
import { type LoadedObject, loadObject } from '../../src/sys/bpf/load.ts';
import type { ObjectSpec } from '../../src/sys/bpf/object.ts';
import { openPinnedMap, openPinnedProgram, pin } from '../../src/sys/bpf/pin.ts';
import { requires } from '../requirements.ts';
import { bpftool, compile, parseFile, workFolderOfBlock } from './bpf-support.ts';

type Shown = {
  id: number;
  type: string;
  name: string;
  tag: string;
  bytes_xlated: number;
  bytes_jited: number;
};
type BtfDump = {
  types: {
    id: number;
    kind: string;
    name: string;
    size?: number;
    members?: { name: string; bits_offset: number; bitfield_size?: number }[];
    values?: { name: string; val: number }[];
  }[];
};

requires(
  'root',
  'bpf',
  'clang-16',
  'bpftool',
)('against libbpf (bpftool)', () => {
  const folder = workFolderOfBlock();
  const bpffs = workFolderOfBlock(true);
  let path: string;
  let spec: ObjectSpec;
  let object: LoadedObject;

  beforeAll(() => {
    path = compile('everything', folder.path);
    spec = parseFile(path);
    object = loadObject(spec, { namePrefix: 'hg_' });
    bpftool('prog', 'loadall', path, `${bpffs.path}/programs`, 'pinmaps', `${bpffs.path}/maps`);
  });
  afterAll(() => {
    object.close();
  });

  it('gives the kernel the same instructions', () => {
    for (const program of Object.values(object.programs)) {
      const ours = bpftool<Shown>('prog', 'show', 'id', String(program.info().id));
      const theirs = bpftool<Shown>('prog', 'show', 'pinned', `${bpffs.path}/programs/${program.name}`);
      // The tag is the kernel's digest of the instructions as they were loaded.
      const { type, tag, bytes_xlated, bytes_jited } = theirs;
      expect(ours, program.name).toMatchObject({ type, tag, bytes_xlated, bytes_jited });
      expect(program.info()).toMatchObject({ tag, translatedBytes: bytes_xlated, id: ours.id });
    }
    expect(Object.keys(object.programs)).toHaveLength(6);
  });

  it('creates the same maps', () => {
    for (const map of Object.values(object.maps)) {
      const name = map.name.startsWith('.') ? `everythi_${map.name.slice(1)}` : map.name;
      const theirs = openPinnedMap(`${bpffs.path}/maps/${name}`);
      const { id: _, btfId: __, name: ___, ...wanted } = theirs.info();
      theirs.close();
      expect(map.info(), map.name).toMatchObject(wanted);
    }
  });

  it('shows its names and values to bpftool', () => {
    const key = Buffer.alloc(8);
    key.writeBigUInt64LE(77n);
    object.maps.recent!.update(key, Buffer.from([5, 0, 0, 0]));
    const id = String(object.maps.recent!.info().id);
    expect(bpftool<Shown>('map', 'show', 'id', id).name).toBe('hg_recent');
    expect(
      bpftool<{ formatted: unknown }[]>('map', 'dump', 'id', id).map(({ formatted }) => formatted),
    ).toEqual([{ key: 77, value: 5 }]);
  });

  it('reads the same structs and enums from BTF', () => {
    const { types } = bpftool<BtfDump>('btf', 'dump', 'file', path);
    let compared = 0;
    for (const type of types.filter(({ kind, name }) => kind === 'STRUCT' && name !== '(anon)')) {
      const ours = structLayout(spec.btf!, type.name);
      expect(ours.size, type.name).toBe(type.size);
      for (const member of type.members!.filter(({ name }) => name !== '(anon)')) {
        const field = ours.fields[member.name]!;
        expect(field.offset * 8 + (field.bits?.offset ?? 0), `${type.name}.${member.name}`).toBe(
          member.bits_offset,
        );
        expect(field.bits?.size ?? 0).toBe(member.bitfield_size ?? 0);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(30);
    for (const type of types.filter(({ kind, name }) => kind === 'ENUM' && name !== '(anon)')) {
      expect(enumValues(spec.btf!, type.name)).toEqual(
        Object.fromEntries(type.values!.map(({ name, val }) => [name, val])),
      );
    }
  });

  it('describes anonymous members, arrays and nested structs', () => {
    // The C declaration: u64, two bit fields in a u32, a union of u32 and u32[4], 2 x {u16, u8[6]}, bool, s16.
    expect(structLayout(spec.btf!, 'record')).toMatchObject({
      size: 48,
      fields: {
        total: { offset: 0, size: 8, kind: 'int', count: 1 },
        weight: { offset: 8, bits: { offset: 0, size: 4 } },
        rest: { offset: 8, bits: { offset: 4, size: 28 } },
        v4: { offset: 12, size: 4 },
        v6: { offset: 12, size: 16, count: 4, elementSize: 4 },
        inner: {
          offset: 28,
          size: 16,
          count: 2,
          nested: { size: 8, fields: { bytes: { offset: 2, count: 6 } } },
        },
        up: { offset: 44, size: 1, kind: 'bool' },
        delta: { offset: 46, size: 2, isSigned: true },
      },
    });
  });

  it('reads the layout of a map somebody else has loaded', () => {
    const theirs = openPinnedMap(`${bpffs.path}/maps/records`);
    const { btfId, valueTypeId } = theirs.info();
    expect(layoutById(kernelBtf(btfId)!, valueTypeId)).toEqual(structLayout(spec.btf!, 'record'));
    theirs.close();
  });

  it('pins maps and programs and opens them again', () => {
    pin(object.maps.seen!.fd, `${bpffs.path}/seen`);
    pin(object.programs.main_program!.fd, `${bpffs.path}/main`);
    const seen = openPinnedMap(`${bpffs.path}/seen`);
    const main = openPinnedProgram(`${bpffs.path}/main`);
    expect(bpftool<Shown>('map', 'show', 'pinned', `${bpffs.path}/seen`).id).toBe(seen.info().id);
    expect(seen.info()).toEqual(object.maps.seen!.info());
    expect(main.info()).toEqual(object.programs.main_program!.info());
    seen.close();
    main.close();
    expect(() => pin(object.maps.seen!.fd, `${bpffs.path}/seen`)).toThrow(/OBJ_PIN.*EEXIST/);
    expect(() => openPinnedMap(`${bpffs.path}/nothing`)).toThrow(/open ".*\/nothing": ENOENT/);
  });
});
