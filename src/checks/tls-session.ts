import { checkServerIdentity, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { Address } from '../model/address.ts';
import { CheckFailure, type CheckOf, type Passed } from './check.ts';

/** How TLS is wanted: the keys of a check that say so, and what the protocol above needs. */
export type TlsWish = Pick<
  CheckOf<'tls'>,
  'serverName' | 'verify' | 'ca' | 'certificate' | 'privateKey' | 'privateKeyPassword'
> & {
  /** Protocols offered by ALPN, best first. */
  readonly protocols?: readonly string[];
};

/** What a handshake brought. */
export type TlsSession = {
  /** `TLSv1.3`. */
  readonly version: string;
  /** The protocol chosen by ALPN. */
  readonly protocol: string | undefined;
  /** When the certificate ends to be valid, milliseconds since 1970; absent where there is none. */
  readonly expiresMs?: number;
};

const dayMs = 86_400_000;

/** Judges a handshake that is over; throws a CheckFailure where the certificate is not what was wanted. */
export function judgeSession(socket: TLSSocket, wish: TlsWish, address: Address): TlsSession {
  const certificate = socket.getPeerCertificate();
  const expiresMs = Date.parse(certificate.valid_to);
  if (wish.verify) verify(socket, certificate, wish.serverName ?? address);
  return {
    version: socket.getProtocol() ?? 'TLS',
    protocol: socket.alpnProtocol === false || socket.alpnProtocol === null ? undefined : socket.alpnProtocol,
    ...(Number.isNaN(expiresMs) ? {} : { expiresMs }),
  };
}

function verify(socket: TLSSocket, certificate: PeerCertificate, name: string): void {
  if (certificate.subject === undefined) throw new CheckFailure('tls', 'the server showed no certificate');
  // In spite of its type it is the code of the error.
  const error = socket.authorizationError as unknown as string | undefined;
  if (error) throw new CheckFailure('tls', certificateWords(String(error), certificate));
  const wrongName = checkServerIdentity(name, certificate);
  if (wrongName) {
    throw new CheckFailure('tls', `certificate is for ${namesOf(certificate)}, not for ${name}`);
  }
}

function certificateWords(code: string, certificate: PeerCertificate): string {
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return `certificate expired ${dateText(Date.parse(certificate.valid_to))}`;
    case 'CERT_NOT_YET_VALID':
      return `certificate is not valid before ${dateText(Date.parse(certificate.valid_from))}`;
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return 'self-signed certificate';
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return 'self-signed certificate in the chain';
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return 'certificate is of an authority that is not known here';
    default:
      return `certificate is not valid: ${code.toLowerCase().replaceAll('_', ' ')}`;
  }
}

function namesOf(certificate: PeerCertificate): string {
  const names = certificate.subjectaltname?.replaceAll(/(?:DNS|IP Address):/g, '') ?? certificate.subject.CN;
  const list = String(names ?? 'nobody').split(', ');
  return list.length > 3 ? `${list.slice(0, 3).join(', ')} and ${list.length - 3} more` : list.join(', ');
}

/** What a good check found, with what is to be said of the certificate: that it ends within the check's warning time, or has ended. */
export function withExpiry(
  detail: string,
  session: TlsSession | undefined,
  check: { readonly expiryWarning: number },
): Pick<Passed, 'detail' | 'warning'> {
  const warning = session && expiryText(session, Date.now(), check.expiryWarning);
  return warning === undefined ? { detail } : { detail: `${detail}, ${warning}`, warning };
}

/** What is to be said of a certificate that ends within `warnWithinMs`, or has ended; undefined where there is nothing, and with 0. */
export function expiryText(session: TlsSession, nowMs: number, warnWithinMs: number): string | undefined {
  if (session.expiresMs === undefined || warnWithinMs === 0) return undefined;
  const leftMs = session.expiresMs - nowMs;
  if (leftMs <= 0) return `certificate expired ${dateText(session.expiresMs)}`;
  if (leftMs > warnWithinMs) return undefined;
  const days = Math.floor(leftMs / dayMs);
  return days === 0
    ? 'certificate expires within a day'
    : `certificate expires in ${days} day${days === 1 ? '' : 's'}`;
}

function dateText(timeMs: number): string {
  return Number.isNaN(timeMs) ? 'at an unknown time' : new Date(timeMs).toISOString().slice(0, 10);
}
