import { type Address, familyOf, parseAddress, parseAddressLoose } from '../../model/address.ts';
import type { KnownNames, PortProtocol } from './names.ts';

/** What a `host[:port]` argument says; no port where it names none. */
export type Endpoint = { readonly address: Address; readonly port?: number };

/**
 * Reads `host`, `host:port`, a bare IPv6 address or `[IPv6]:port` by ipvsadm's rules: digits alone are refused, the
 * bracketed form needs a port, an IPv4 address in brackets loses its port, hosts are names or any form of
 * inet_aton(3). Undefined when it is none of these.
 */
export function parseEndpoint(text: string, protocol: PortProtocol, names: KnownNames): Endpoint | undefined {
  if (/^[0-9]*$/.test(text)) return undefined;
  const bracketed = /^\[([^\]]*)\]:(.*)$/s.exec(text);
  if (text.startsWith('[') && !bracketed) return undefined;
  const whole = bracketed?.[1] ?? text;
  const v6 = whole.includes(':') ? parseAddress(whole) : undefined;
  if (v6) return withPort(v6, bracketed?.[2], protocol, names);
  const colon = whole.lastIndexOf(':');
  const address = hostAddress(colon < 0 ? whole : whole.slice(0, colon), names);
  return address && withPort(address, colon < 0 ? undefined : whole.slice(colon + 1), protocol, names);
}

/** An IPv4 address in any form of inet_aton(3), or the first IPv4 address of a host name. */
export function hostAddress(text: string, names: KnownNames): Address | undefined {
  const numeric = parseAddressLoose(text.replace(/(?<=.)[ \t\n\v\f\r].*$/s, ''));
  return numeric && familyOf(numeric) === 4 ? numeric : names.addressOf(text);
}

/** A decimal number as strtol(3) reads it (leading blanks and a sign allowed), if it is whole and in range. */
export function parseNumber(text: string, minimum: number, maximum: number): number | undefined {
  if (!/^[ \t\n\v\f\r]*[+-]?[0-9]+$/.test(text)) return undefined;
  const number = Number(text) + 0;
  return number >= minimum && number <= maximum ? number : undefined;
}

function withPort(
  address: Address,
  text: string | undefined,
  protocol: PortProtocol,
  names: KnownNames,
): Endpoint | undefined {
  if (text === undefined) return { address };
  const port = parseNumber(text, 0, 65535) ?? (protocol === 'ip' ? undefined : names.portOf(text, protocol));
  return port === undefined ? undefined : { address, port };
}
