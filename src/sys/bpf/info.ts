import { closeFd } from '../ffi.ts';
import { type Btf, parseBtf } from './btf.ts';
import { bpf, newAttributes, putAddress } from './call.ts';
import { stringAt } from './elf.ts';

export type MapInfo = {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Ids in the BTF object `btfId`; 0 where there is none. */
  readonly btfId: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
};

export type ProgramInfo = {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  /** The kernel's digest of the instructions, as bpftool prints it. */
  readonly tag: string;
  readonly mapIds: readonly number[];
  readonly btfId: number;
  readonly translatedBytes: number;
  /** Bytes of native code; 0: interpreted. */
  readonly compiledBytes: number;
  readonly verifiedInstructions: number;
};

/** BPF_OBJ_GET_INFO_BY_FD: fills `info` as far as the kernel knows it; the rest keeps what it was. */
export function readInfo(fd: number, info: Buffer, context: string, held?: unknown): Buffer {
  const attributes = newAttributes(16);
  attributes.writeInt32LE(fd, 0);
  attributes.writeUInt32LE(info.length, 4);
  putAddress(attributes, 8, info);
  bpf('OBJ_GET_INFO_BY_FD', attributes, context, [info, held]);
  return info;
}

/** struct bpf_map_info. */
export function mapInfo(fd: number): MapInfo {
  const info = readInfo(fd, Buffer.alloc(88), 'read map');
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
    flags: info.readUInt32LE(20),
    name: stringAt(info.subarray(24, 40), 0),
    btfId: info.readUInt32LE(64),
    keyTypeId: info.readUInt32LE(68),
    valueTypeId: info.readUInt32LE(72),
  };
}

/** struct bpf_prog_info. */
export function programInfo(fd: number): ProgramInfo {
  const mapIds = Buffer.alloc(64 * 4);
  const info = Buffer.alloc(232);
  info.writeUInt32LE(mapIds.length / 4, 52);
  putAddress(info, 56, mapIds);
  readInfo(fd, info, 'read program', mapIds);
  const maps = Math.min(info.readUInt32LE(52), mapIds.length / 4);
  return {
    type: info.readUInt32LE(0),
    id: info.readUInt32LE(4),
    tag: info.toString('hex', 8, 16),
    compiledBytes: info.readUInt32LE(16),
    translatedBytes: info.readUInt32LE(20),
    mapIds: Array.from({ length: maps }, (_, index) => mapIds.readUInt32LE(index * 4)),
    name: stringAt(info.subarray(64, 80), 0),
    btfId: info.readUInt32LE(128),
    verifiedInstructions: info.readUInt32LE(216),
  };
}

/** A descriptor for an object by its kernel id (CAP_SYS_ADMIN). Throws SystemError ENOENT when it is gone. */
export function openById(kind: 'map' | 'program' | 'btf' | 'link', id: number): number {
  const command = {
    map: 'MAP_GET_FD_BY_ID',
    program: 'PROG_GET_FD_BY_ID',
    btf: 'BTF_GET_FD_BY_ID',
    link: 'LINK_GET_FD_BY_ID',
  } as const;
  const attributes = newAttributes(16);
  attributes.writeUInt32LE(id, 0);
  return bpf(command[kind], attributes, `open ${kind} ${id}`);
}

/** The BTF the kernel keeps for a map or program, by the `btfId` of its info; undefined for 0. */
export function kernelBtf(btfId: number): Btf | undefined {
  if (btfId === 0) return undefined;
  const fd = openById('btf', btfId);
  try {
    const size = readInfo(fd, Buffer.alloc(32), `read BTF ${btfId}`).readUInt32LE(8);
    const bytes = Buffer.alloc(size);
    const info = Buffer.alloc(32);
    putAddress(info, 0, bytes);
    info.writeUInt32LE(size, 8);
    readInfo(fd, info, `read BTF ${btfId}`, bytes);
    return parseBtf(bytes);
  } finally {
    closeFd(fd);
  }
}
