import { ethernet, mac } from './frame.ts';
import type { Outcome } from './harness.ts';
import type { Expected, Report } from './reference.ts';
import { macs, type Way } from './world.ts';

/** struct __sk_buff's mark of a packet on its way to become an ICMP error or fragments: bpf/icmp.h, enum turn. */
const reportKinds: Record<Report['kind'], number> = {
  'port-unreachable': 1,
  'time-exceeded': 2,
  'too-big': 3,
  fragmentation: 4,
};

export const reportMark = ({ kind, mtu }: Report): number => 0x48000000 + (reportKinds[kind] << 16) + mtu;

export type AgreementOptions = {
  /** ICMP errors may have been held back by their limit. */
  readonly limited?: boolean;
  /** What came in had no Ethernet header. */
  readonly raw?: boolean;
};

const headerLength = 14;
const nobody = { to: '00:00:00:00:00:00', from: '00:00:00:00:00:00' };

/**
 * How an outcome differs from what was expected of what came in; undefined when it does not. A redirected frame has
 * the MAC addresses of its next hop, or its own or zeros while the kernel's neighbour layer is to fill them in; what
 * came without Ethernet header gets one before it is sent on.
 */
export function disagreement(
  expected: Expected,
  outcome: Outcome,
  came: Buffer,
  { limited = false, raw = false }: AgreementOptions = {},
): string | undefined {
  const heldBack = limited && expected.verdict === 'report' && outcome.verdict === 'drop';
  const wantedVerdict = heldBack ? 'drop' : expected.verdict === 'report' ? 'redirect' : expected.verdict;
  if (outcome.verdict !== wantedVerdict)
    return `verdict: wanted ${expected.verdict}, found ${outcome.verdict}`;

  const wantedMark = expected.verdict === 'report' && !heldBack ? reportMark(expected.report) : 0;
  if (outcome.mark !== wantedMark) return `mark: wanted ${wantedMark}, found ${outcome.mark}`;

  const hasHeader = !raw || outcome.verdict === 'redirect';
  const header = outcome.bytes.subarray(0, hasHeader ? headerLength : 0);
  const packet = outcome.bytes.subarray(header.length);
  if (!expected.packet.equals(packet)) {
    return `packet: wanted ${expected.packet.toString('hex')}, found ${packet.toString('hex')}`;
  }
  if (!hasHeader) return undefined;
  const before = (raw ? ethernet(came, nobody) : came).subarray(0, headerLength);
  const wanted = expected.verdict === 'redirect' ? headersFor(expected.way, before) : [before];
  if (wanted.some((one) => one.equals(header))) return undefined;
  const names = wanted.map((one) => one.toString('hex')).join(' or ');
  return `Ethernet header: wanted ${names}, found ${header.toString('hex')}`;
}

/** Ethernet headers a frame that came with one may leave with. */
function headersFor(way: Way, before: Buffer): Buffer[] {
  const type = before.subarray(12);
  const zeros = Buffer.concat([Buffer.alloc(12), type]);
  if (way.kind === 'local') return [zeros];
  if (way.kind === 'none') return [];
  return [Buffer.concat([mac(way.mac), mac(macs[way.device].own), type]), before, zeros];
}
