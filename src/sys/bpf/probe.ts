import { errnoByName, errnoName } from '../errno.ts';
import { closeFd } from '../ffi.ts';
import { newAttributes, putAddress, tryBpf } from './call.ts';
import { attachType, mapType, programType } from './uapi.ts';

/** Whether BPF works here, tried rather than guessed from a version. */
export type BpfAccess =
  | { readonly state: 'allowed' }
  /** The process lacks CAP_BPF and CAP_NET_ADMIN, or a container's seccomp profile refuses bpf(2). */
  | { readonly state: 'forbidden'; readonly code: string }
  /** The kernel is built without bpf(2), or without the maps and programs tried. */
  | { readonly state: 'absent'; readonly code: string };

export type BpfFeatures = {
  /** Attaching tc programs by tcx links (else a clsact filter). */
  readonly tcx: boolean;
  readonly loops: boolean;
  readonly timers: boolean;
  readonly ringBuffers: boolean;
  /** Calling BPF programs of type SYSCALL. */
  readonly syscallPrograms: boolean;
};

let access: BpfAccess | undefined;
let features: BpfFeatures | undefined;

/** Tries to create a map and load a tc program. Cached: it does not change while the process keeps its capabilities. */
export function bpfAccess(): BpfAccess {
  access ??= tryAccess();
  return access;
}

/** What the kernel offers beyond the floor; all false when BPF is not allowed. Cached. */
export function bpfFeatures(): BpfFeatures {
  features ??=
    bpfAccess().state === 'allowed'
      ? {
          tcx: tcxSupported(),
          loops: hasHelper(programType.SCHED_CLS, helper.loop),
          timers: hasHelper(programType.SCHED_CLS, helper.timerInit),
          ringBuffers: isOpened(tryCreateMap(mapType.RINGBUF, 0, 0, 4096)),
          syscallPrograms: isOpened(tryLoad(programType.SYSCALL, returnZero, undefined, SLEEPABLE)),
        }
      : { tcx: false, loops: false, timers: false, ringBuffers: false, syscallPrograms: false };
  return features;
}

function tryAccess(): BpfAccess {
  for (const attempt of [
    () => tryCreateMap(mapType.HASH, 4, 4, 1),
    () => tryLoad(programType.SCHED_CLS, returnZero),
  ]) {
    const result = attempt();
    if (isOpened(result)) continue;
    const code = errnoName(-result);
    return { state: code === 'EPERM' || code === 'EACCES' ? 'forbidden' : 'absent', code };
  }
  return { state: 'allowed' };
}

/** Numbers of enum bpf_func_id. */
const helper = { timerInit: 169, loop: 181 } as const;
const SLEEPABLE = 1 << 4;

const exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
/** r0 = 0; exit */
const returnZero = Buffer.from([0xb7, 0, 0, 0, 0, 0, 0, 0, ...exit]);

let tcx: boolean | undefined;

/** Whether programs can be attached by tcx links (Linux 6.6). Asked alone it costs a tenth of asking for everything. */
export function tcxSupported(): boolean {
  tcx ??= hasTcx();
  return tcx;
}

/** A tcx kernel looks for the device and finds none (ENODEV); an older one does not know the attach type (EINVAL). */
function hasTcx(): boolean {
  const program = tryLoad(programType.SCHED_CLS, returnZero);
  if (program < 0) return false;
  try {
    const attributes = newAttributes(64);
    attributes.writeInt32LE(program, 0);
    attributes.writeInt32LE(-1, 4);
    attributes.writeUInt32LE(attachType.TCX_INGRESS, 8);
    return tryBpf('LINK_CREATE', attributes) === -errnoByName.ENODEV!;
  } finally {
    closeFd(program);
  }
}

/** Whether programs of a type may call a helper: the verifier names an unknown one before it looks at its arguments. */
export function hasHelper(type: number, helperId: number): boolean {
  const call = Buffer.from([0x85, 0, 0, 0, helperId & 255, helperId >> 8, 0, 0, ...exit]);
  const log = Buffer.alloc(4096);
  const result = tryLoad(type, call, log);
  if (isOpened(result)) return true;
  const text = log.toString('latin1');
  return result === -errnoByName.EPERM! ? false : !/invalid func|unknown func|cannot use helper/.test(text);
}

function tryCreateMap(type: number, keySize: number, valueSize: number, maxEntries: number): number {
  const attributes = newAttributes(80);
  [type, keySize, valueSize, maxEntries].forEach((word, index) => {
    attributes.writeUInt32LE(word, index * 4);
  });
  return tryBpf('MAP_CREATE', attributes);
}

function tryLoad(type: number, instructions: Buffer, log?: Buffer, flags = 0): number {
  const license = Buffer.from('GPL\0');
  const attributes = newAttributes();
  attributes.writeUInt32LE(type, 0);
  attributes.writeUInt32LE(instructions.length / 8, 4);
  putAddress(attributes, 8, instructions);
  putAddress(attributes, 16, license);
  if (log) {
    attributes.writeUInt32LE(1, 24);
    attributes.writeUInt32LE(log.length, 28);
    putAddress(attributes, 32, log);
  }
  attributes.writeUInt32LE(flags, 44);
  return tryBpf('PROG_LOAD', attributes, [instructions, license, log]);
}

/** Whether a call gave a descriptor, which is closed. */
function isOpened(result: number): boolean {
  if (result < 0) return false;
  closeFd(result);
  return true;
}
