import { addressOf, SystemError, syscall, syscallAside } from '../ffi.ts';
import { bpfCommand } from './uapi.ts';

export type BpfCommand = keyof typeof bpfCommand;

/** The number of bpf(2); 280 is the generic table's (arm64, riscv64, loongarch64). */
const bpfSyscall: number = { x64: 321, ppc64: 361, s390x: 351 }[process.arch as string] ?? 280;

/** An empty `union bpf_attr`. The kernel accepts one longer than its own as long as the rest is zero. */
export function newAttributes(size = 152): Buffer {
  return Buffer.alloc(size);
}

/** Writes a pointer field; undefined is a null pointer. The memory must go into `held` of the call as well. */
export function putAddress(attributes: Buffer, offset: number, memory: Uint8Array | undefined): void {
  const address = memory ? addressOf(memory) : 0;
  attributes.writeUInt32LE(address % 2 ** 32, offset);
  attributes.writeUInt32LE(Math.floor(address / 2 ** 32), offset + 4);
}

/** bpf(2): the result, or minus the error number. Everything `attributes` points at must be reachable from `held`. */
export function tryBpf(command: BpfCommand, attributes: Buffer, held?: unknown): number {
  return syscall(
    bpfSyscall,
    [bpfCommand[command], addressOf(attributes), attributes.length],
    [attributes, held],
  );
}

/** The same in another thread: the result, or a negative number that does not say why. */
export function tryBpfAside(command: BpfCommand, attributes: Buffer, held: unknown): Promise<number> {
  const args = [bpfCommand[command], addressOf(attributes), attributes.length];
  return syscallAside(bpfSyscall, args, [attributes, held]);
}

/** bpf(2), throwing a SystemError that says what it was for. */
export function bpf(command: BpfCommand, attributes: Buffer, context: string, held?: unknown): number {
  const result = tryBpf(command, attributes, held);
  if (result < 0) throw bpfError(command, -result, context);
  return result;
}

/** The error of a bpf(2) that was called by other means than `bpf`; `context` says what it was for. */
export function bpfError(command: BpfCommand, errno: number, context: string): SystemError {
  return new SystemError(`bpf(${command})`, errno, context);
}

/**
 * The same call again and again: the attribute block is written by the caller between calls, its address is taken once,
 * and it stays alive with `held` for as long as the returned function does.
 */
export function prepareBpf(command: BpfCommand, attributes: Buffer, held: unknown): () => number {
  const args = [bpfCommand[command], addressOf(attributes), attributes.length];
  const memory = [attributes, held];
  return () => syscall(bpfSyscall, args, memory);
}
