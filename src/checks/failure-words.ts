import type { Address } from '../model/address.ts';
import type { CheckPhase } from '../model/check-result.ts';
import { CheckFailure, type EndSignal } from './check.ts';

/** What the kernel's and OpenSSL's codes mean for someone whose real server they are about. */
const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by the server',
  ECONNABORTED: 'connection aborted',
  EPIPE: 'connection closed by the server',
  EHOSTUNREACH: 'no route to host',
  EHOSTDOWN: 'host is down',
  ENETUNREACH: 'network is unreachable',
  ENETDOWN: 'network is down',
  ETIMEDOUT: 'connection timed out',
  EACCES: 'not permitted: the firewall of this host may forbid it',
  EPERM: 'not permitted: the firewall of this host may forbid it',
  EADDRINUSE: 'no local port is free',
  EAFNOSUPPORT: 'this host does not have this version of IP',
  EMFILE: 'no file descriptors left: raise the limit of open files of this process',
  ENFILE: 'no file descriptors left on this host: raise fs.file-max',
  ENOBUFS: 'no memory for sockets left',
  ENOMEM: 'no memory left',
  ERR_SSL_WRONG_VERSION_NUMBER: 'the server answers without TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'the server answers without TLS',
  ERR_SSL_HTTP_REQUEST: 'the server answers without TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'the server speaks an older version of TLS only',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'the server speaks another version of TLS',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE:
    'the server refuses the handshake: no cipher in common, or it wants a certificate',
  ERR_SSL_TLSV1_UNRECOGNIZED_NAME: 'the server does not know the name asked for',
  ERR_SSL_TLSV1_ALERT_UNRECOGNIZED_NAME: 'the server does not know the name asked for',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'the server wants a certificate of ours',
  ERR_SSL_DH_KEY_TOO_SMALL: 'the key of the server is too small',
  ERR_SSL_EE_KEY_TOO_SMALL: 'the key of the certificate is too small',
};

/** The failure that an error of a socket is, in words; `source` is the address the socket was to come from. */
export function socketFailure(phase: CheckPhase, error: Error, source: Address | undefined): CheckFailure {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === 'EADDRNOTAVAIL') {
    const reason =
      source === undefined
        ? 'no local port is free'
        : `source address ${source} is not an address of this host`;
    return new CheckFailure(phase, reason);
  }
  // Node says this of every end of a connection during the handshake.
  if (phase === 'tls' && (code === 'ECONNRESET' || code === 'EPIPE')) {
    return new CheckFailure(phase, 'connection closed during the handshake');
  }
  if (code === 'EINVAL' && phase === 'connect') {
    const reason = source === undefined ? 'no route to host' : `source address ${source} cannot reach it`;
    return new CheckFailure(phase, reason);
  }
  const known = code === undefined ? undefined : words[code];
  if (known !== undefined) return new CheckFailure(phase, known);
  const { reason } = error as { reason?: unknown };
  if (typeof reason === 'string') return new CheckFailure(phase, `TLS: ${reason}`);
  return new CheckFailure(phase, code === undefined ? error.message : `${syscall ?? 'socket'}: ${code}`);
}

/** The failure of something that was ended by `signal`: the runner says in its reason why. */
export function endedBy(signal: Pick<EndSignal, 'reason'>, phase: CheckPhase): CheckFailure {
  const reason: unknown = signal.reason;
  return new CheckFailure(phase, reason instanceof CheckEnd ? reason.message : 'stopped');
}

/** Why a check is ended from outside: its time is over, or nobody waits any more. */
export class CheckEnd extends Error {}
