import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseObject } from '../../src/sys/bpf/object.ts';
import type { ProgramSpec } from '../../src/sys/bpf/object-parts.ts';
import { packageRoot } from '../../src/sys/program.ts';

/* What Linux 6.1 lets a chain of calls take of the stack (check_max_stack_depth of kernel/bpf/verifier.c); newer kernels ask less. */

const instructionBytes = 8;
const functionInfoBytes = 8;
const frame = 10;
const most = 512;
const roundedTo = 32;
/** Classes of opcodes with an address in a register and an offset, and whole opcodes. */
const [classLoad, classStore, classStoreRegister] = [1, 2, 3];
const opcodes = { move: 0xbf, add: 0x07, call: 0x85, loadAddress: 0x18 } as const;
/** In the place of a source register: the number is that of a function of the program. */
const [pseudoCall, pseudoFunction] = [1, 4];

type Subprogram = { readonly bytes: number; readonly calls: ReadonlySet<number> };

/** The functions of a program by the place they begin. */
function subprograms({ instructions, functionInfo }: ProgramSpec): Map<number, Subprogram> {
  const end = instructions.length / instructionBytes;
  const starts: number[] = [];
  for (let at = 0; at < functionInfo.length; at += functionInfoBytes)
    starts.push(functionInfo.readUInt32LE(at));
  return new Map(starts.map((start, n) => [start, read(instructions, start, starts[n + 1] ?? end)] as const));
}

/** What a function takes of the stack itself, and which functions it calls or has called back. */
function read(instructions: Buffer, from: number, to: number): Subprogram {
  let bytes = 0;
  const calls = new Set<number>();
  const copies = new Set<number>();
  for (let n = from; n < to; n++) {
    const at = n * instructionBytes;
    const opcode = instructions.readUInt8(at);
    const [register, source] = [instructions.readUInt8(at + 1) & 15, instructions.readUInt8(at + 1) >> 4];
    const [offset, number] = [instructions.readInt16LE(at + 2), instructions.readInt32LE(at + 4)];
    const kind = opcode & 7;
    const base = kind === classLoad ? source : register;
    if ([classLoad, classStore, classStoreRegister].includes(kind) && base === frame)
      bytes = Math.max(bytes, -offset);
    if (opcode === opcodes.move && source === frame) copies.add(register);
    else if (opcode === opcodes.add && copies.delete(register)) bytes = Math.max(bytes, -number);
    const called = opcode === opcodes.call && source === pseudoCall;
    if (called || (opcode === opcodes.loadAddress && source === pseudoFunction)) calls.add(n + 1 + number);
    if (opcode === opcodes.loadAddress) n++;
  }
  return { bytes, calls };
}

function deepest(functions: ReadonlyMap<number, Subprogram>, start: number): number {
  const { bytes, calls } = functions.get(start)!;
  const below = [...calls].map((called) => deepest(functions, called));
  return Math.ceil(Math.max(bytes, 1) / roundedTo) * roundedTo + Math.max(0, ...below);
}

it.each(['headgate', 'decapsulate'])(
  '%s: no chain of calls takes more of the stack than Linux 6.1 lets it',
  (name) => {
    const { programs } = parseObject(readFileSync(join(packageRoot, `bpf/${name}.bpf.o`)));
    const depths = Object.values(programs).map((one) => [one.name, deepest(subprograms(one), 0)] as const);
    expect(depths.filter(([, bytes]) => bytes > most)).toEqual([]);
    expect(depths.some(([, bytes]) => bytes > most / 4)).toBe(true);
  },
);
