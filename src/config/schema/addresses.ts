import { type Address, familyOf, maskOf, parseAddress } from '../../model/address.ts';
import type { Protocol } from '../../model/virtual-service.ts';
import { parsed } from './keys.ts';

/** Where a virtual service is reached; port 0 is every port. */
export type VirtualAddress = {
  readonly address: Address;
  readonly port: number;
  readonly protocol: Protocol;
};

/** Where something listens; without a port it is the port of what it serves. */
export type Endpoint = { readonly address: Address; readonly port?: number };

/** An address with the length of its network's prefix. */
export type Prefix = { readonly address: Address; readonly length: number };

/** Splits `ADDRESS:PORT`, an IPv6 address in brackets; the port as text, undefined where there is none. */
function splitPort(text: string): { address: Address; port: string | undefined } | undefined {
  const match = /^(?:\[([^[\]]*)\]|([^:]*))(?::([^:]*))?$/.exec(text);
  const address = parseAddress(match ? (match[1] ?? match[2]!) : text);
  if (address === undefined) return undefined;
  if (match?.[1] !== undefined && familyOf(address) !== 6) return undefined;
  return { address, port: match?.[3] };
}

function parsePort(text: string): number | undefined {
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** `192.0.2.10:80`, `[2001:db8::10]:53/udp`, `192.0.2.10:*` for every port. */
export function parseVirtualAddress(text: string): VirtualAddress | undefined {
  const match = /^(.*?)(?:\/(tcp|udp|sctp))?$/.exec(text);
  const split = splitPort(match?.[1] ?? '');
  if (split?.port === undefined) return undefined;
  const port = split.port === '*' ? 0 : parsePort(split.port);
  if (port === undefined) return undefined;
  return { address: split.address, port, protocol: (match?.[2] ?? 'tcp') as Protocol };
}

/** `10.0.0.11`, `10.0.0.11:8080`, `2001:db8::11`, `[2001:db8::11]:8080`. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const split = splitPort(text);
  if (split === undefined) return undefined;
  if (split.port === undefined) return { address: split.address };
  const port = parsePort(split.port);
  return port === undefined ? undefined : { address: split.address, port };
}

/** `192.0.2.10/24`; without a length the address alone, /32 or /128. */
export function parsePrefix(text: string): Prefix | undefined {
  const [first = '', lengthText, more] = text.split('/');
  const address = parseAddress(first);
  if (address === undefined || more !== undefined) return undefined;
  const bits = familyOf(address) === 4 ? 32 : 128;
  if (lengthText === undefined) return { address, length: bits };
  const length = /^(?:0|[1-9][0-9]{0,2})$/.test(lengthText) ? Number(lengthText) : -1;
  return length >= 0 && length <= bits ? { address, length } : undefined;
}

/** An IPv4 mask as prefix length: `24` and `255.255.255.0` alike. Undefined where its ones are not together. */
export function parseMask(value: string): number | undefined {
  const address = parseAddress(value);
  if (address === undefined || familyOf(address) !== 4) return undefined;
  const number = address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const length = Math.clz32(~number);
  return length > 0 && maskOf(length) === number ? length : undefined;
}

export const virtualAddress = parsed(
  'an address with its port, such as 192.0.2.10:80, "[2001:db8::10]:53/udp" or 192.0.2.10:* for every port',
  parseVirtualAddress,
  'address:port[/protocol]',
);

export const endpoint = parsed(
  'an address, with or without a port, such as 10.0.0.11 or 10.0.0.11:8080',
  parseEndpoint,
  'address[:port]',
);

export const address = parsed('an address such as 192.0.2.10', parseAddress, 'address');

export const prefix = parsed(
  'an address, with or without the length of its prefix, such as 192.0.2.10/24',
  parsePrefix,
  'address[/length]',
);
