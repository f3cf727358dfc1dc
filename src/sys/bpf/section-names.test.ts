import { expect, it } from 'vitest';
import { programKind } from './section-names.ts';

// Program types, attach types and flags of include/uapi/linux/bpf.h; names of libbpf's program_types table.
it.each([
  ['tc', 3, 0, 0],
  ['classifier', 3, 0, 0],
  ['classifier/ingress', 3, 0, 0],
  ['tc/ingress', 3, 46, 0],
  ['tcx/egress', 3, 47, 0],
  ['xdp', 6, 37, 0],
  ['xdp/forward', 6, 37, 0],
  ['syscall', 31, 0, 16],
  ['sk_lookup', 30, 36, 0],
  ['sk_skb/stream_verdict', 14, 5, 0],
])('section "%s"', (section, type, expectedAttachType, flags) => {
  expect(programKind(section)).toEqual({ type, expectedAttachType, flags });
});

it('names what it knows', () => {
  expect(() => programKind('xdpish')).toThrow(/section "xdpish" names no program type; known: .*xdp/);
});
