import type { LocalEnd } from './datagram.ts';

/** Requests and answers of SIP (RFC 3261) as far as OPTIONS needs them. */

/** What an OPTIONS request is made of; `branch`, `callId` and `tag` are new for each request. */
export type SipRequest = {
  readonly transport: 'udp' | 'tcp';
  /** Who is asked: a host, with the port where it is not 5060. */
  readonly host: string;
  /** Whom it is about: a name at that host, or one with a host of its own. */
  readonly user?: string;
  readonly branch: string;
  readonly callId: string;
  readonly tag: string;
};

export type SipAnswer = {
  readonly status: number;
  readonly reason: string;
  /** The call it answers; absent where it does not say. */
  readonly callId: string | undefined;
  readonly sequence: string | undefined;
};

const sequence = '1 OPTIONS';

/** Text that is no answer of SIP. */
export class SipError extends Error {}

/** RFC 3261, section 11.1; `rport` (RFC 3581) brings the answer back to where the request came from. */
export function encodeOptions(
  { transport, host, user, branch, callId, tag }: SipRequest,
  local: LocalEnd,
): string {
  const own = `${hostText(local.address)}:${local.port}`;
  const target = `sip:${user === undefined ? host : user.includes('@') ? user : `${user}@${host}`}`;
  const lines = [
    `OPTIONS ${target}${transport === 'tcp' ? ';transport=tcp' : ''} SIP/2.0`,
    `Via: SIP/2.0/${transport.toUpperCase()} ${own};branch=z9hG4bK${branch};rport`,
    'Max-Forwards: 70',
    `From: <sip:headgate@${own}>;tag=${tag}`,
    `To: <${target}>`,
    `Call-ID: ${callId}`,
    `CSeq: ${sequence}`,
    `Contact: <sip:headgate@${own}>`,
    'Accept: application/sdp',
    'Content-Length: 0',
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** An address as it stands in a URI (RFC 3261, section 25.1). */
export function hostText(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** Reads the head of an answer. Throws SipError. */
export function decodeAnswer(text: string): SipAnswer {
  const [first = '', ...headers] = text.split(/\r?\n/);
  const [, status, reason] = /^SIP\/2\.0 ([1-6][0-9][0-9])(?: (.*))?$/.exec(first) ?? [];
  if (status === undefined) throw new SipError('the answer is not one of SIP/2.0');
  const header = (...names: string[]): string | undefined => {
    for (const line of headers) {
      if (line === '') return undefined;
      const colon = line.indexOf(':');
      if (names.includes(line.slice(0, colon).trim().toLowerCase())) return line.slice(colon + 1).trim();
    }
    return undefined;
  };
  return {
    status: Number(status),
    reason: (reason ?? '').trim(),
    callId: header('call-id', 'i'),
    sequence: header('cseq'),
  };
}

/** Whether it is the final answer to this request; provisional ones (1xx) only say that one will come. */
export function isFinalAnswer({ status, callId, sequence: said }: SipAnswer, request: SipRequest): boolean {
  return status >= 200 && callId === request.callId && said?.replace(/\s+/g, ' ') === sequence;
}
