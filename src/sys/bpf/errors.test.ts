import { describe, expect, it } from 'vitest';
import { VerifierError } from './errors.ts';

describe('VerifierError', () => {
  const log = [
    ...Array.from({ length: 40 }, (_, index) => `${index}: (b7) r0 = ${index}`),
    '; return data[40]; @ x.c:10',
    '40: (71) r0 = *(u8 *)(r1 +40)',
    'invalid access to packet, off=40 size=1',
    'R1 offset is outside of the packet',
    'processed 41 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
    '',
  ].join('\n');

  it('ends with the lines that say why, and counts the others', () => {
    expect(new VerifierError('p', 'EACCES', log).message.split('\n')).toEqual([
      'load program "p": the verifier refuses it (EACCES):',
      '  39: (b7) r0 = 39',
      '  ; return data[40]; @ x.c:10',
      '  40: (71) r0 = *(u8 *)(r1 +40)',
      '  invalid access to packet, off=40 size=1',
      '  R1 offset is outside of the packet',
      '  (40 lines omitted)',
    ]);
  });

  it('omits nothing from a short log', () => {
    expect(new VerifierError('p', 'EINVAL', 'unknown opcode 00\n').message).toBe(
      'load program "p": the verifier refuses it (EINVAL):\n  unknown opcode 00',
    );
  });
});
