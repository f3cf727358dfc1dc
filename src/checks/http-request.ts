import { isIPv6 } from 'node:net';
import type { Address } from '../model/address.ts';

/** A page that is asked for. */
export type PageRequest = {
  readonly method: 'GET' | 'HEAD';
  readonly version: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2';
  readonly scheme: 'http' | 'https';
  /** What follows the method: a path, or a whole URL for a proxy. */
  readonly target: string;
  /** The Host header. */
  readonly host: string;
};

export const defaultPorts = { http: 80, https: 443 } as const;

/** The Host header for a request: what is configured, else the host of a URL for a proxy, else the address itself. */
export function hostOf(
  scheme: PageRequest['scheme'],
  host: string | undefined,
  path: string,
  address: Address,
  port: number,
): string {
  if (host !== undefined) return host;
  const inUrl = /^http:\/\/([^/?#]+)/.exec(path)?.[1];
  if (inUrl !== undefined) return inUrl;
  const name = isIPv6(address) ? `[${address}]` : address;
  return port === defaultPorts[scheme] ? name : `${name}:${port}`;
}

/**
 * A request of HTTP/1 (RFC 9112). It asks for the connection to be closed, and for a body without compression, whose
 * bytes are those that are compared.
 */
export function requestText({ method, version, target, host }: PageRequest): string {
  return [
    `${method} ${cleanTarget(target)} ${version}`,
    `Host: ${cleanValue(host)}`,
    'User-Agent: headgate',
    'Accept: */*',
    'Accept-Encoding: identity',
    'Connection: close',
    '\r\n',
  ].join('\r\n');
}

/** A target without what would end it: blanks and controls are escaped, all else stays as it is written. */
export function cleanTarget(target: string): string {
  return Array.from(target, (character) =>
    character > ' ' && character < '\x7f' ? character : encodeURIComponent(character),
  ).join('');
}

function cleanValue(value: string): string {
  return value.replace(/[^ -~]/g, '');
}
