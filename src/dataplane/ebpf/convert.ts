import { HeadgateError } from '../../model/errors.ts';
import { kernelBtf } from '../../sys/bpf/info.ts';
import { type StructLayout, structLayout } from '../../sys/bpf/layout.ts';
import { alignedValueSize, type MapHandle } from '../../sys/bpf/map.ts';
import { records } from './layout.generated.ts';
import type { RecordName } from './records.ts';

/*
 * Records of another build's layout become records of this one: field by field, by name. The other layout is read from
 * the type information of its own maps, so any two builds understand each other as long as the fields without which a
 * record means nothing have kept their names.
 */

type Place = { readonly offset: number; readonly size: number };
export type Layout = { readonly size: number; readonly fields: Readonly<Record<string, Place>> };

/** Fields that must be there on both sides. All others start at zero when the other build does not have them. */
const essential: Partial<Record<RecordName, readonly string[]>> = {
  connection: [
    'client',
    'virtual',
    'real',
    'client_port',
    'virtual_port',
    'real_port',
    'protocol',
    'family',
    'word',
    'seen',
    'timeout',
    'next',
    'destination',
  ],
  connection_detail: ['client_head', 'virtual_head', 'real_head'],
  destination: ['flags', 'method', 'address', 'port', 'weight', 'next', 'service', 'family'],
  service: ['flags', 'scheduler', 'first', 'address', 'port', 'protocol', 'fwmark', 'family'],
  settings: [
    'layout',
    'hz',
    'salt',
    'hash',
    'connections',
    'hold',
    'service_slots',
    'destination_slots',
    'timeout',
  ],
  runtime: ['free', 'fresh', 'limbo_first', 'limbo_last'],
  counters: ['connections', 'packets_in', 'packets_out', 'bytes_in', 'bytes_out'],
};

/** This build's layout of a record. */
export function ownLayout(name: RecordName): Layout {
  const { size, fields } = records[name];
  return {
    size,
    fields: Object.fromEntries(
      Object.entries(fields).map(([field, { offset, size, count }]) => [
        field,
        { offset, size: size * count },
      ]),
    ),
  };
}

/** The layout a running map has, by its own type information. Throws HG_LAYOUT when that does not do. */
export function layoutOfMap(map: MapHandle, name: RecordName): Layout {
  const btf = kernelBtf(map.info().btfId);
  if (!btf) throw refuse(name, 'its type information is gone');
  const layout: StructLayout = structLayout(btf, name);
  const missing = essential[name]?.find((field) => !layout.fields[field]);
  if (missing) throw refuse(name, `its records have no field "${missing}"`);
  return layout;
}

function refuse(name: RecordName, why: string): HeadgateError {
  return new HeadgateError('HG_LAYOUT', `Cannot take over the running table of ${name} records: ${why}`);
}

/** Copies one record; the fields' offsets are worked out once. */
export type Converter = {
  readonly from: Layout;
  readonly to: Layout;
  copy(source: Uint8Array, sourceOffset: number, target: Uint8Array, targetOffset: number): void;
};

/** Copies records of one layout into another one by the names of their fields; what only the new one has is left as it is. */
export function converter(from: Layout, to: Layout): Converter {
  const moves = Object.entries(to.fields).flatMap(([name, { offset, size }]) => {
    const source = from.fields[name];
    return source ? [{ from: source.offset, to: offset, size: Math.min(size, source.size) }] : [];
  });
  return {
    from,
    to,
    copy(source, sourceOffset, target, targetOffset) {
      for (const { from, to, size } of moves) {
        for (let i = 0; i < size; i++) target[targetOffset + to + i] = source[sourceOffset + from + i]!;
      }
    },
  };
}

/** Copies the records [first, last] of a mapped array map into another. */
export function convertArray(
  from: MapHandle,
  to: MapHandle,
  name: RecordName,
  first: number,
  last: number,
): void {
  const { copy } = converter(layoutOfMap(from, name), ownLayout(name));
  const [source, target] = [from.mmap('read'), to.mmap('read-write')];
  try {
    const [sourceBytes, targetBytes] = [new Uint8Array(source.buffer), new Uint8Array(target.buffer)];
    const [sourceStride, targetStride] = [alignedValueSize(from), alignedValueSize(to)];
    for (let slot = first; slot <= last; slot++) {
      copy(sourceBytes, slot * sourceStride, targetBytes, slot * targetStride);
    }
  } finally {
    source.close();
    target.close();
  }
}
