import type { CheckOf, RunCheck } from './check.ts';
import { ask, hexText, unexpected } from './datagram.ts';
import { shownText } from './shown-text.ts';

/** How long an ICMP error is waited for where no answer is needed, at most. */
const longestSilenceMs = 1000;

/**
 * Sends a datagram. An ICMP error is bad; an answer is judged where something is said about it, and is waited for only
 * where it must come.
 */
export const runUdp: RunCheck<'udp'> = (check, context) =>
  ask(context, {
    source: check.source,
    request: () => (check.sendHex === undefined ? (check.send ?? '') : Buffer.from(check.sendHex, 'hex')),
    judge: (datagram) => ({ detail: judge(check, datagram) }),
    ...(!needsAnswer(check) && {
      silence: {
        enoughMs: Math.min(check.timeout / 2, longestSilenceMs),
        means: { detail: 'sent, no ICMP error' },
      },
    }),
  });

/** What is expected of an answer. */
type Expectation = Pick<CheckOf<'udp'>, 'expect' | 'expectHex' | 'minLength' | 'maxLength'>;

function needsAnswer(check: CheckOf<'udp'>): boolean {
  return check.answer || check.expect !== undefined || check.expectHex !== undefined || check.minLength > 0;
}

function judge({ expect, expectHex, minLength, maxLength }: Expectation, datagram: Buffer): string {
  const { length } = datagram;
  if (length < minLength || length > maxLength) {
    throw unexpected(`got ${length} bytes, want ${minLength} to ${maxLength}`);
  }
  if (expect !== undefined && !startsWith(datagram, Buffer.from(expect))) {
    throw unexpected(`got "${shownText(datagram)}", want "${shownText(expect)}"`);
  }
  if (expectHex !== undefined && !startsWithDigits(datagram, expectHex)) {
    throw unexpected(`got ${hexText(datagram)}, want ${expectHex}`);
  }
  return `${length} bytes`;
}

function startsWith(datagram: Buffer, wanted: Buffer): boolean {
  return datagram.subarray(0, wanted.length).equals(wanted);
}

function startsWithDigits(datagram: Buffer, wanted: string): boolean {
  const digits = datagram.subarray(0, wanted.length / 2).toString('hex');
  return (
    digits.length === wanted.length &&
    [...wanted.toLowerCase()].every((digit, i) => digit === 'x' || digit === digits[i])
  );
}
