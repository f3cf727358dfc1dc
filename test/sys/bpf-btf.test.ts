import { closeSync, writeFileSync } from 'node:fs';
import { beforeAll, expect, it } from 'vitest';
import { parseBtf } from '../../src/sys/bpf/btf.ts';
import { bpf, newAttributes, putAddress } from '../../src/sys/bpf/call.ts';
import { enumValues, structLayout } from '../../src/sys/bpf/layout.ts';
import { loadObject } from '../../src/sys/bpf/load.ts';
import type { ObjectSpec } from '../../src/sys/bpf/object.ts';
import { sanitiseBtf } from '../../src/sys/bpf/object-btf.ts';
import { testRunSkb } from '../../src/sys/bpf/test-run.ts';
import { requires } from '../requirements.ts';
import { bpftool, compile, parseFile, workFolderOfBlock } from './bpf-support.ts';

requires(
  'root',
  'bpf',
  'clang-16',
  'bpftool',
)('late kinds of BTF', () => {
  const folder = workFolderOfBlock();
  let spec: ObjectSpec;
  beforeAll(() => {
    spec = parseFile(compile('tags', folder.path));
  });

  const kindsOf = (path: string) =>
    new Set(
      bpftool<{ types: { kind: string }[] }>('btf', 'dump', 'file', path).types.map(({ kind }) => kind),
    );

  it('loads as it is', () => {
    const object = loadObject(spec);
    expect(testRunSkb(object.programs.uses_tags!.fd, Buffer.alloc(64)).returnValue).toBe(1);
    expect(object.variable('runs').getBigUint64(0, true)).toBe(1n);
    object.close();
  });

  it('reads tags, floats and 64-bit enums', () => {
    expect(enumValues(spec.btf!, 'wide')).toEqual({ WIDE_SMALL: 1, WIDE_LARGE: 2 ** 32 });
    expect(structLayout(spec.btf!, 'tagged')).toMatchObject({
      size: 32,
      fields: {
        pointer: { offset: 0, size: 8, kind: 'pointer' },
        member: { offset: 8, size: 4, isSigned: true },
        ratio: { offset: 16, size: 8, kind: 'float' },
        wide: { offset: 24, size: 8, kind: 'enum' },
      },
    });
  });

  it('becomes BTF without them that the kernel and bpftool take', () => {
    const plain = sanitiseBtf(spec.btf!);
    const attributes = newAttributes(32);
    putAddress(attributes, 0, plain);
    attributes.writeUInt32LE(plain.length, 16);
    closeSync(bpf('BTF_LOAD', attributes, 'load BTF', plain));

    const late = ['TYPE_TAG', 'DECL_TAG', 'FLOAT'];
    const [before, after] = [`${folder.path}/before`, `${folder.path}/after`];
    writeFileSync(before, spec.btf!.bytes);
    writeFileSync(after, plain);
    expect(late.filter((kind) => kindsOf(before).has(kind))).toEqual(late);
    expect(late.filter((kind) => kindsOf(after).has(kind))).toEqual([]);
    expect(structLayout(parseBtf(plain), 'tagged').fields.wide!.offset).toBe(24);
  });
});
