import { BpfObjectError } from './errors.ts';
import { attachType, PROG_F_SLEEPABLE, programType } from './uapi.ts';

export type ProgramKind = {
  readonly type: number;
  /** 0 where the type has none or leaves it open until the program is attached. */
  readonly expectedAttachType: number;
  readonly flags: number;
};

const kind = (type: number, expectedAttachType = 0, flags = 0): ProgramKind => ({
  type,
  expectedAttachType,
  flags,
});

/** Program kinds by ELF section name, as libbpf has them; a name also stands for everything below it ("tc/ingress"). */
const kindsBySection: readonly (readonly [name: string, kind: ProgramKind])[] = [
  ['tc/ingress', kind(programType.SCHED_CLS, attachType.TCX_INGRESS)],
  ['tc/egress', kind(programType.SCHED_CLS, attachType.TCX_EGRESS)],
  ['tcx/ingress', kind(programType.SCHED_CLS, attachType.TCX_INGRESS)],
  ['tcx/egress', kind(programType.SCHED_CLS, attachType.TCX_EGRESS)],
  ['tc', kind(programType.SCHED_CLS)],
  ['classifier', kind(programType.SCHED_CLS)],
  ['xdp', kind(programType.XDP, attachType.XDP)],
  ['syscall', kind(programType.SYSCALL, 0, PROG_F_SLEEPABLE)],
  ['sk_lookup', kind(programType.SK_LOOKUP, attachType.SK_LOOKUP)],
  ['sk_skb/stream_parser', kind(programType.SK_SKB, attachType.SK_SKB_STREAM_PARSER)],
  ['sk_skb/stream_verdict', kind(programType.SK_SKB, attachType.SK_SKB_STREAM_VERDICT)],
  ['sk_skb', kind(programType.SK_SKB)],
  ['sk_msg', kind(programType.SK_MSG, attachType.SK_MSG_VERDICT)],
  ['sockops', kind(programType.SOCK_OPS, attachType.CGROUP_SOCK_OPS)],
  ['socket', kind(programType.SOCKET_FILTER)],
];

/** What a program in this section is. Throws BpfObjectError for a section name that says nothing to us. */
export function programKind(section: string): ProgramKind {
  const found = kindsBySection.find(([name]) => section === name || section.startsWith(`${name}/`));
  if (!found) {
    const known = kindsBySection.map(([name]) => name).join(', ');
    throw new BpfObjectError(`read object: section "${section}" names no program type; known: ${known}`);
  }
  return found[1];
}
