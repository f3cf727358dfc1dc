import {
  type Address,
  addressFromBytes,
  addressToBytes,
  type Family,
  familyOf,
  parseAddress,
  parseAddressLoose,
} from '../../../model/address.ts';
import type { KnownNames } from '../../ipvsadm/names.ts';

/** Where something is, or why that is not to be known: the second half of a sentence. */
export type Found<T> = T | { readonly reason: string; readonly hint?: string };

/** What a `virtual` line names. What stands behind it, which ldirectord does not look at, is `rest`. */
export type VirtualPlace = (
  | { readonly kind: 'address'; readonly host: string; readonly port: string }
  | { readonly kind: 'fwmark'; readonly mark: string }
) & { readonly rest: string };

const portWord = '[0-9A-Za-z_-]+';
const virtualForm = new RegExp(`^(\\d+\\.\\d+\\.\\d+\\.\\d+|[0-9A-Za-z._+-]+):(${portWord})(.*)$`);
const virtualForm6 = new RegExp(`^(\\[[0-9A-Fa-f:.]+\\]):(${portWord})(.*)$`);

/** The value of `virtual` or `virtual6`: `HOST:PORT`, `[IPV6]:PORT`, or a firewall mark. */
export function parseVirtual(value: string, family: Family): Found<VirtualPlace> {
  const plain = virtualForm.exec(value) ?? (family === 6 ? virtualForm6.exec(value) : null);
  if (plain) return { kind: 'address', host: plain[1]!, port: plain[2]!, rest: plain[3]!.trim() };
  const mark = /^(\d+)(.*)$/.exec(value);
  if (mark) return { kind: 'fwmark', mark: mark[1]!, rest: mark[2]!.trim() };
  const wanted = 'wanted an address with its port, or a firewall mark';
  const found = value === '' ? 'nothing' : `"${value}"`;
  if (virtualForm6.test(value)) return { reason: `${wanted}, found ${found}`, hint: 'write "virtual6"' };
  return { reason: `${wanted}, found ${found}` };
}

/** What a `real` line names. */
export type RealPlaces = {
  readonly first: string;
  readonly last?: string;
  readonly port?: string;
  /** The port stands behind two colons. */
  readonly isDoubled: boolean;
  readonly method: 'gate' | 'masq' | 'ipip';
  readonly weight?: string;
  readonly request?: string;
  readonly receive?: string;
  readonly lower?: string;
  readonly upper?: string;
};

const host = String.raw`\d+\.\d+\.\d+\.\d+|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]`;
const realForm = new RegExp(
  `^(${host})(?:->(${host}))?(?:(::?)(${portWord}))?\\s+(gate|masq|ipip)(?!\\w)(.*)$`,
);

/** The value of `real`: `HOST[->HOST][:PORT] METHOD [WEIGHT] ["REQUEST", "RECEIVE"] [l:N] [u:N]`. */
export function parseReal(value: string): Found<RealPlaces> {
  const form = realForm.exec(value);
  if (!form) return realMistake(value);
  const [, first = '', last, colons, port, method, options = ''] = form;
  let rest = options;
  const found: { -readonly [Key in keyof RealPlaces]?: RealPlaces[Key] } = {};
  const take = (form: RegExp): RegExpExecArray | undefined => {
    const match = form.exec(rest);
    if (match) rest = rest.slice(match[0].length);
    return match ?? undefined;
  };
  const weight = take(/^\s+(\d+)(?=[\s,"]|$)/);
  if (weight) found.weight = weight[1]!;
  const texts = take(/^,?\s*"([^"]*)"(?:\s*,\s*|\s+)"([^"]*)"(?=\s|$)/);
  if (texts) [found.request, found.receive] = [texts[1]!, texts[2]!];
  for (let bound = take(/^\s+([lu]):(\d+)(?=\s|$)/); bound; bound = take(/^\s+([lu]):(\d+)(?=\s|$)/))
    found[bound[1] === 'l' ? 'lower' : 'upper'] = bound[2]!;
  if (rest.trim() !== '') {
    const wanted = 'WEIGHT, "REQUEST", "RECEIVE", l:N and u:N, in this order';
    return { reason: `wanted ${wanted}, found "${rest.trim()}"` };
  }
  return {
    ...found,
    first,
    ...(last !== undefined && { last }),
    ...(port !== undefined && { port }),
    isDoubled: colons === '::',
    method: method as RealPlaces['method'],
  };
}

function realMistake(value: string): { reason: string; hint: string } {
  const hint = 'write it as in "10.0.0.11:80 gate"';
  const [place = '', method] = value.split(/\s+/);
  if (method === undefined)
    return { reason: `wanted gate, masq or ipip behind "${place}", found nothing`, hint };
  if (new RegExp(`^(?:${host})`).test(value) && !/^(?:gate|masq|ipip)$/.test(method))
    return { reason: `wanted gate, masq or ipip behind the address, found "${method}"`, hint };
  return { reason: `wanted an address with gate, masq or ipip, found "${value}"`, hint };
}

/** What `fallback` names. */
export type FallbackPlace = {
  readonly host: string;
  readonly port?: string;
  readonly method: 'gate' | 'masq' | 'ipip';
};

/** The value of `fallback`: `HOST[:PORT] [METHOD]`. */
export function parseFallback(value: string): Found<FallbackPlace> {
  const [place = '', method = 'gate', more] = value.split(/\s+/);
  if (method !== 'gate' && method !== 'masq' && method !== 'ipip')
    return { reason: `wanted gate, masq or ipip behind the address, found "${method}"` };
  if (more !== undefined) return { reason: `wanted an address and a method, found "${more}" behind them` };
  const [, name = '', port] = /^(.*?)(?::([0-9A-Za-z_-]+))?$/.exec(place)!;
  return { host: name, ...(port !== undefined && { port }), method };
}

/** The address of a host. Names are those of IPv4: that of an IPv6 host is to be written as address. */
export function resolveHost(text: string, family: Family, names: KnownNames): Found<Address> {
  const bare = text.replace(/^\[(.*)\]$/, '$1');
  const written = family === 6 ? parseAddress(bare) : parseAddressLoose(text);
  if (written !== undefined && familyOf(written) === family) return written;
  if (family === 6)
    return {
      reason: `wanted an IPv6 address, found "${text}"`,
      hint: 'write the address in brackets: names are looked up for IPv4 only',
    };
  const found = /^[A-Za-z0-9._+-]*[A-Za-z][A-Za-z0-9._+-]*$/.test(text) ? names.addressOf(text) : undefined;
  if (found !== undefined && familyOf(found) === 4) return found;
  return {
    reason: `wanted an IPv4 address or a host that is known, found "${text}"`,
    hint: `write the address instead of "${text}", or give that name an address in /etc/hosts`,
  };
}

/** A port by its number or name; of a real server's name the protocol does not matter. */
export function resolvePort(text: string, protocol: 'tcp' | 'udp' | 'any', names: KnownNames): Found<number> {
  if (/^\d+$/.test(text)) {
    const port = Number(text);
    return port <= 65_535 ? port : { reason: `wanted a port up to 65535, found ${text}` };
  }
  const found =
    protocol === 'any'
      ? (names.portOf(text, 'tcp') ?? names.portOf(text, 'udp'))
      : names.portOf(text, protocol);
  return found ?? { reason: `wanted a port or a name in /etc/services, found "${text}"` };
}

/** Real servers one line may stand for: all that a virtual service can have. */
const longestRange = 65_536;

/** The addresses from the first to the last, both included. */
export function addressRange(first: Address, last: Address): Found<readonly Address[]> {
  if (familyOf(first) === 6) return { reason: 'wanted one address: there are no ranges of IPv6 addresses' };
  const [from, to] = [numberOf(first), numberOf(last)];
  if (from > to) return { reason: `wanted a range that ascends, found ${first} to ${last}` };
  if (to - from >= longestRange)
    return { reason: `wanted at most ${longestRange} addresses, found ${to - from + 1}` };
  return Array.from({ length: to - from + 1 }, (_, i) => addressOf(from + i));
}

const numberOf = (address: Address): number =>
  addressToBytes(address).reduce((sum, byte) => sum * 256 + byte, 0);

function addressOf(number: number): Address {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number);
  return addressFromBytes(bytes);
}
