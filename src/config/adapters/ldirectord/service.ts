import type { Address, Family } from '../../../model/address.ts';
import type { Problem } from '../../../model/errors.ts';
import { problemAt, type Span } from '../../../model/problem.ts';
import type { KnownNames } from '../../ipvsadm/names.ts';
import type { Tell } from '../adapter.ts';
import type { DirectiveName, Given, ServiceWord, Settings } from './directives.ts';
import type { Line, Section } from './lines.ts';
import {
  addressRange,
  type Found,
  parseFallback,
  parseReal,
  parseVirtual,
  type RealPlaces,
  resolveHost,
  resolvePort,
} from './places.ts';

/** A real server, one address of its line. */
export type Real = {
  readonly line: Line;
  readonly address: Address;
  /** 0 where the line names none. */
  readonly port: number;
  readonly places: RealPlaces;
};

export type Fallback = {
  readonly line: Line;
  readonly address: Address;
  readonly port: number | undefined;
  readonly method: RealPlaces['method'];
};

/** A virtual service as ldirectord understands its section, names resolved. */
export type Service = {
  readonly head: Line;
  readonly family: Family;
  readonly id: { readonly address: Address; readonly port: number } | { readonly mark: number };
  readonly protocol: 'tcp' | 'udp' | 'fwm';
  /** What a negotiate check speaks. */
  readonly service: ServiceWord;
  readonly settings: Settings;
  readonly reals: readonly Real[];
  readonly fallback: Fallback | undefined;
};

/** What reading needs and where it tells what it found. */
export type Reading = {
  readonly names: KnownNames;
  readonly tell: Tell;
  readonly problems: Problem[];
};

const serviceOfPort: Readonly<Record<number, ServiceWord>> = {
  21: 'ftp',
  25: 'smtp',
  53: 'dns',
  80: 'http',
  110: 'pop',
  119: 'nntp',
  143: 'imap',
  389: 'ldap',
  443: 'https',
  587: 'submission',
  636: 'ldaps',
  993: 'imaps',
  995: 'pops',
  1521: 'oracle',
  1812: 'radius',
  3128: 'http_proxy',
  3306: 'mysql',
  5060: 'sip',
  5432: 'pgsql',
};

/** The port a service is checked at where nothing names one. */
export function portOfService(service: ServiceWord): number | undefined {
  const found = Object.entries(serviceOfPort).find(([, word]) => word === service);
  return found && Number(found[0]);
}

/** The port connections of a service go to on a real server: only masquerading changes it. */
export function forwardedPort({ id }: Service, { port, places }: Real): number {
  if ('mark' in id) return port;
  return places.method === 'masq' && port > 0 ? port : id.port;
}

/** Reads a section; undefined where its `virtual` line has no meaning. */
export function readService(section: Section, settings: Settings, reading: Reading): Service | undefined {
  const { head } = section;
  const family: Family = head.name.text === 'virtual6' ? 6 : 4;
  const at = head.value?.span ?? head.span;
  const place = accept(parseVirtual(head.value?.text ?? '', family), at, `"${head.name.text}"`, reading);
  const reals = settings.reals.flatMap((given) => readReal(given, family, reading));
  if (!place) return undefined;
  if (place.rest !== '') {
    const what = place.kind === 'fwmark' ? `firewall mark ${place.mark}` : 'the address';
    const hint = place.rest.startsWith('.') ? ': an address needs its port' : '';
    reading.tell('changed', head.span, `it is ${what}, "${place.rest}" behind it counts for nothing${hint}`);
  }
  judgeNetmask(settings, family, reading);
  const protocol = protocolOf(place, settings, reading);
  if (place.kind === 'fwmark') {
    const service = wordOf(settings, 'service') ?? 'none';
    const fallback = readFallback(settings, family, 'fwm', reading);
    const id = { mark: Number(place.mark) };
    return { head, family, id, protocol, service, settings, reals, fallback };
  }
  const transport = protocol === 'udp' ? 'udp' : 'tcp';
  const fallback = readFallback(settings, family, transport, reading);
  const address = accept(resolveHost(place.host, family, reading.names), at, `"${head.name.text}"`, reading);
  const port = accept(resolvePort(place.port, transport, reading.names), at, `"${head.name.text}"`, reading);
  if (address === undefined || port === undefined) return undefined;
  const service = wordOf(settings, 'service') ?? serviceOfPort[port] ?? 'none';
  return { head, family, id: { address, port }, protocol, service, settings, reals, fallback };
}

const wordOf = (settings: Settings, name: DirectiveName) =>
  settings.given.get(name)?.text as ServiceWord | undefined;

function protocolOf(
  place: { readonly kind: 'address'; readonly port: string } | { readonly kind: 'fwmark' },
  { given }: Settings,
  { problems }: Reading,
): Service['protocol'] {
  const protocol = given.get('protocol');
  const isMark = place.kind === 'fwmark';
  if (protocol && isMark !== (protocol.text === 'fwm')) {
    const wanted = isMark ? 'fwm with a firewall mark' : 'tcp or udp with an address';
    const message = `"protocol": wanted ${wanted}, found "${protocol.text}"`;
    problems.push(problemAt(protocol.line.value?.span ?? protocol.line.span, 'HG_CONFIG_RULE', message));
  }
  if (isMark) return 'fwm';
  if (protocol?.text === 'udp' || protocol?.text === 'tcp') return protocol.text;
  return /^(?:53|domain)$/.test(place.port) ? 'udp' : 'tcp';
}

/** IPv4 takes a dotted mask, IPv6 the length of a prefix. */
function judgeNetmask({ given }: Settings, family: Family, { problems }: Reading): void {
  const netmask = given.get('netmask');
  if (!netmask) return;
  const isDotted = netmask.text.includes('.');
  const isLength = !isDotted && Number(netmask.text) >= 1 && Number(netmask.text) <= 128;
  if (family === 4 ? isDotted : isLength) return;
  const wanted = family === 4 ? 'a mask such as 255.255.255.0' : 'the length of a prefix, 1 to 128';
  const message = `"netmask": wanted ${wanted}, found "${netmask.text}"`;
  problems.push(problemAt(netmask.line.value?.span ?? netmask.line.span, 'HG_CONFIG_RULE', message));
}

/** A found value; otherwise its reason is a problem. */
function accept<T extends object | string | number>(
  found: Found<T>,
  span: Span,
  subject: string,
  { problems }: Reading,
): T | undefined {
  if (typeof found !== 'object' || !('reason' in found)) return found as T;
  problems.push(problemAt(span, 'HG_CONFIG_RULE', `${subject}: ${found.reason}`, found.hint));
  return undefined;
}

function wrongFamily({ name }: Line, family: Family, { problems }: Reading): boolean {
  const isSix = name.text.endsWith('6');
  if (isSix === (family === 6)) return false;
  const word = isSix ? name.text.slice(0, -1) : `${name.text}6`;
  const message = `"${name.text}": wanted "${word}" in a service of IPv${family}`;
  problems.push(problemAt(name.span, 'HG_CONFIG_RULE', message, `write "${word}"`));
  return true;
}

function readReal({ text, line }: Given, family: Family, reading: Reading): readonly Real[] {
  if (wrongFamily(line, family, reading)) return [];
  const span = line.value?.span ?? line.span;
  const subject = `"${line.name.text}"`;
  const places = accept(parseReal(text), span, subject, reading);
  if (!places) return [];
  const first = accept(resolveHost(places.first, family, reading.names), span, subject, reading);
  const last =
    places.last === undefined
      ? first
      : accept(resolveHost(places.last, family, reading.names), span, subject, reading);
  const port = accept(resolvePort(places.port ?? '0', 'any', reading.names), span, subject, reading);
  if (first === undefined || last === undefined || port === undefined) return [];
  if (places.isDoubled) reading.tell('changed', line.span, 'two colons are one');
  const addresses =
    places.last === undefined ? [first] : accept(addressRange(first, last), span, subject, reading);
  return (addresses ?? []).map((address) => ({ line, address, port, places }));
}

/** The fallback of a section, or of all where these are the settings of the whole file. */
function readFallback(
  { given }: Settings,
  family: Family,
  protocol: 'tcp' | 'udp' | 'fwm',
  reading: Reading,
): Fallback | undefined {
  const [own, other] =
    family === 6 ? (['fallback6', 'fallback'] as const) : (['fallback', 'fallback6'] as const);
  const misplaced = given.get(other);
  if (misplaced) wrongFamily(misplaced.line, family, reading);
  const found = given.get(own);
  return found && fallbackOf(found, family, protocol, reading);
}

/** What a line `fallback` says. */
export function fallbackOf(
  { text, line }: Given,
  family: Family,
  protocol: 'tcp' | 'udp' | 'fwm',
  reading: Reading,
): Fallback | undefined {
  const span = line.value?.span ?? line.span;
  const subject = `"${line.name.text}"`;
  const place = accept(parseFallback(text), span, subject, reading);
  if (!place) return undefined;
  const address = accept(resolveHost(place.host, family, reading.names), span, subject, reading);
  const asked = protocol === 'fwm' ? 'any' : protocol;
  const port =
    place.port === undefined
      ? 0
      : accept(resolvePort(place.port, asked, reading.names), span, subject, reading);
  if (address === undefined || port === undefined) return undefined;
  return { line, address, port: port === 0 ? undefined : port, method: place.method };
}
