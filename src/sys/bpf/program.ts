import { errnoByName, errnoName } from '../errno.ts';
import { closeFd } from '../ffi.ts';
import { withoutSignals } from '../signals.ts';
import { bpfError, newAttributes, putAddress, tryBpf, tryBpfAside } from './call.ts';
import { BpfObjectError, VerifierError } from './errors.ts';
import { type ProgramInfo, programInfo } from './info.ts';
import { kernelName, type MapHandle } from './map.ts';
import type { ProgramSpec } from './object-parts.ts';

/** A loaded BPF program that is open in this process. */
export type ProgramHandle = {
  readonly fd: number;
  readonly name: string;
  readonly type: number;
  readonly expectedAttachType: number;
  info(): ProgramInfo;
  close(): void;
};

export type ProgramEnvironment = {
  readonly license: string;
  readonly maps: Readonly<Record<string, Pick<MapHandle, 'fd'>>>;
  readonly btfFd: number | undefined;
  readonly namePrefix: string;
};

/** A handle for a descriptor that is already open. */
export function openProgram(fd: number): ProgramHandle {
  const { name, type } = programInfo(fd);
  return programHandle(fd, name, type, 0);
}

function programHandle(fd: number, name: string, type: number, expectedAttachType: number): ProgramHandle {
  let open = true;
  return {
    fd,
    name,
    type,
    expectedAttachType,
    info: () => programInfo(fd),
    close() {
      if (!open) return;
      open = false;
      closeFd(fd);
    },
  };
}

/** BPF_PROG_LOAD. Throws VerifierError when the verifier refuses the program, SystemError when the kernel does (EPERM). */
export function loadProgram(program: ProgramSpec, environment: ProgramEnvironment): ProgramHandle {
  return load(program, loadRequest(program, environment));
}

/** The same in another thread, where the verifier takes its time while others load and this one goes on. */
export async function loadProgramAside(
  program: ProgramSpec,
  environment: ProgramEnvironment,
): Promise<ProgramHandle> {
  const request = loadRequest(program, environment);
  const fd = await tryBpfAside('PROG_LOAD', request.attributes, request.held);
  // Why it was refused is asked for here; where it was a signal's fault it is not refused again.
  return fd < 0
    ? load(program, request)
    : programHandle(fd, program.name, program.type, program.expectedAttachType);
}

type LoadRequest = { readonly attributes: Buffer; readonly held: unknown };

function load(program: ProgramSpec, { attributes, held }: LoadRequest): ProgramHandle {
  // The verifier gives up with EAGAIN as soon as a signal waits (kernel/bpf/verifier.c, do_check).
  const result = withoutSignals(() => tryBpf('PROG_LOAD', attributes, held));
  if (result < 0) throw explainRefusal(program.name, attributes, held, -result);
  return programHandle(result, program.name, program.type, program.expectedAttachType);
}

function loadRequest(program: ProgramSpec, environment: ProgramEnvironment): LoadRequest {
  const instructions = resolveReferences(program, environment.maps);
  const license = Buffer.from(`${environment.license}\0`);
  const attributes = newAttributes();
  attributes.writeUInt32LE(program.type, 0);
  attributes.writeUInt32LE(instructions.length / 8, 4);
  putAddress(attributes, 8, instructions);
  putAddress(attributes, 16, license);
  attributes.writeUInt32LE(program.flags, 44);
  attributes.write(kernelName(environment.namePrefix + program.name), 48, 15, 'latin1');
  attributes.writeUInt32LE(program.expectedAttachType, 68);
  if (environment.btfFd !== undefined && program.functionInfo.length > 0) {
    attributes.writeInt32LE(environment.btfFd, 72);
    attributes.writeUInt32LE(8, 76);
    putAddress(attributes, 80, program.functionInfo);
    attributes.writeUInt32LE(program.functionInfo.length / 8, 88);
    attributes.writeUInt32LE(16, 92);
    putAddress(attributes, 96, program.lineInfo);
    attributes.writeUInt32LE(program.lineInfo.length / 16, 104);
  }
  return { attributes, held: [instructions, license, program] };
}

function resolveReferences(
  program: ProgramSpec,
  maps: Readonly<Record<string, Pick<MapHandle, 'fd'>>>,
): Buffer {
  const instructions = Buffer.from(program.instructions);
  for (const { instruction, map, valueOffset } of program.references) {
    const fd = maps[map]?.fd;
    if (fd === undefined)
      throw new BpfObjectError(`load program "${program.name}": there is no map "${map}"`);
    instructions.writeInt32LE(fd, instruction * 8 + 4);
    instructions.writeInt32LE(valueOffset ?? 0, instruction * 8 + 12);
  }
  return instructions;
}

const smallestLog = 1 << 20;
const largestLog = 1 << 26;

/** Loads once more with the verifier's log; a refusal before verification leaves the log empty. */
function explainRefusal(name: string, attributes: Buffer, held: unknown, errno: number): Error {
  for (let size = smallestLog; size <= largestLog; size *= 8) {
    const log = Buffer.alloc(size);
    attributes.writeUInt32LE(1, 24);
    attributes.writeUInt32LE(size, 28);
    putAddress(attributes, 32, log);
    const result = withoutSignals(() => tryBpf('PROG_LOAD', attributes, [held, log]));
    if (result >= 0) closeFd(result);
    else if (-result === errnoByName.ENOSPC && size * 8 <= largestLog) continue;
    const text = log.toString('utf8', 0, Math.max(0, log.indexOf(0)));
    if (text.trim() !== '') return new VerifierError(name, errnoName(errno), text);
    break;
  }
  return bpfError('PROG_LOAD', errno, `load program "${name}"`);
}
