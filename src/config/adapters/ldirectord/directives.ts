import type { Line } from './lines.ts';

/** Where a directive may stand: in front of virtual services, inside of one, or both. */
export type Scope = 'global' | 'service' | 'both';

/** What ldirectord reads from a value; undefined where it refuses it. */
type Reader = (value: string) => string | undefined;

/** A directive of ldirectord: where it stands, what it takes. */
export type Directive = { readonly scope: Scope; readonly wanted: string; readonly read: Reader };

/** The services of a negotiate check. */
export const serviceWords = [
  ...['dns', 'ftp', 'http', 'https', 'http_proxy', 'imap', 'imaps', 'ldap', 'ldaps', 'mysql', 'nntp'],
  ...['none', 'oracle', 'pop', 'pops', 'radius', 'pgsql', 'simpletcp', 'sip', 'smtp', 'submission'],
] as const;
export type ServiceWord = (typeof serviceWords)[number];

const checkTypes = ['connect', 'negotiate', 'on', 'off', 'ping', 'external', 'external-perl'];
const daemonStates = ['none', 'all', 'starting', 'running', 'stopping', 'reloading'];

/** The first digits of a value, wherever they stand: `3s` is 3. */
const digits: Reader = (value) => /\d+/.exec(value)?.[0];
const count: Reader = (value) => {
  const found = digits(value);
  return found !== undefined && Number(found) > 0 ? found : undefined;
};
const flag: Reader = (value) => (value === 'yes' || value === 'no' ? value : undefined);
const any: Reader = (value) => value;
const filled: Reader = (value) => (value === '' ? undefined : value);
/** From the first quotation mark to the last one. */
const quoted: Reader = (value) => filled(/^"(.*)"/.exec(value)?.[1] ?? '');
const perhapsQuoted: Reader = (value) => filled(/^"(.*)"/.exec(value)?.[1] ?? value);
const firstWord = (value: string): string | undefined => /\w+/.exec(value)?.[0];
const oneOf =
  (words: readonly string[]): Reader =>
  (value) => {
    const word = firstWord(value);
    return word !== undefined && words.includes(word) ? word : undefined;
  };
const states: Reader = (value) => {
  const words = value.split(/\s*,\s*/).filter((word) => word !== '');
  const isKnown = words.every((word) => daemonStates.includes(word));
  return isKnown && (words.length < 2 || !words.includes('none')) ? words.join(',') : undefined;
};
const checkType: Reader = (value) => {
  const number = digits(value);
  const word = /[\w-]+/.exec(value)?.[0] ?? '';
  return number ?? (checkTypes.includes(word) ? word : undefined);
};
const port: Reader = (value) => {
  const number = digits(value);
  return number !== undefined && Number(number) >= 1 && Number(number) <= 65_535 ? number : undefined;
};
const never: Reader = () => undefined;

const seconds = 'a number of seconds greater than 0';
const inQuotes = 'a text in double quotes';
const yesOrNo = 'yes or no';
const directive = (scope: Scope, read: Reader, wanted: string): Directive => ({ scope, read, wanted });

/** Every directive of ldirectord but `virtual` and `virtual6`, which begin a virtual service. */
export const directives = {
  checktimeout: directive('both', count, seconds),
  negotiatetimeout: directive('both', count, seconds),
  checkinterval: directive('both', count, seconds),
  checkcount: directive('both', count, 'a number greater than 0'),
  failurecount: directive('both', count, 'a number greater than 0'),
  connecttimeout: directive('both', never, 'negotiatetimeout in its place'),
  timeout: directive('global', never, 'checktimeout and negotiatetimeout in its place'),
  autoreload: directive('global', flag, yesOrNo),
  callback: directive('global', (value) => /^"(.*)"/.exec(value)?.[1], inQuotes),
  fallback: directive('both', filled, 'an address'),
  fallback6: directive('both', filled, 'an address'),
  fallbackcommand: directive('both', perhapsQuoted, 'a command'),
  logfile: directive('global', quoted, inQuotes),
  emailalert: directive('both', perhapsQuoted, 'addresses'),
  emailalertfrom: directive('global', filled, 'an address'),
  emailalertfreq: directive('both', (value) => /^\d+/.exec(value)?.[0], 'a number of seconds'),
  emailalertstatus: directive(
    'both',
    states,
    `none alone, or words out of ${daemonStates.slice(1).join(', ')}`,
  ),
  smtp: directive('both', (value) => /^[0-9A-Za-z._+-]+/.exec(value)?.[0], 'a host'),
  execute: directive('global', any, 'a file'),
  supervised: directive('global', flag, yesOrNo),
  fork: directive('global', flag, yesOrNo),
  quiescent: directive('both', flag, yesOrNo),
  readdquiescent: directive('global', flag, yesOrNo),
  cleanstop: directive('both', flag, yesOrNo),
  maintenancedir: directive('global', filled, 'a folder'),
  real: directive('service', filled, 'an address and gate, masq or ipip'),
  real6: directive('service', filled, 'an address and gate, masq or ipip'),
  checktype: directive('service', checkType, `${checkTypes.join(', ')} or a number`),
  service: directive('service', oneOf(serviceWords), `one of ${serviceWords.join(', ')}`),
  checkcommand: directive('service', perhapsQuoted, 'a command'),
  checkport: directive('service', port, 'a port from 1 to 65535'),
  request: directive('service', quoted, inQuotes),
  receive: directive('service', quoted, inQuotes),
  httpmethod: directive('service', (value) => oneOf(['GET', 'HEAD'])(value.toUpperCase()), 'GET or HEAD'),
  virtualhost: directive('service', (value) => /^"?([^"]*)/.exec(value)?.[1]?.trim(), 'a host'),
  login: directive('service', quoted, inQuotes),
  passwd: directive('service', quoted, inQuotes),
  database: directive('service', quoted, inQuotes),
  secret: directive('service', quoted, inQuotes),
  load: directive('service', quoted, inQuotes),
  scheduler: directive('service', (value) => /[a-z]+/.exec(value)?.[0], 'a word of lower case letters'),
  schedflags: directive('service', (value) => /\S+/.exec(value)?.[0], 'flags'),
  persistent: directive('service', digits, 'a number of seconds'),
  netmask: directive('service', (value) => /^(?:\d+|\d+\.\d+\.\d+\.\d+)$/.exec(value)?.[0], 'a netmask'),
  protocol: directive('service', oneOf(['tcp', 'udp', 'fwm']), 'tcp, udp or fwm'),
  monitorfile: directive('service', perhapsQuoted, 'a file'),
  ops: directive('service', flag, yesOrNo),
  servicename: directive('service', any, 'a text'),
  comment: directive('service', any, 'a text'),
} as const satisfies Readonly<Record<string, Directive>>;

export type DirectiveName = keyof typeof directives;

/** A directive as a file gives it. */
export type Given = { readonly text: string; readonly line: Line };

/** What a part of a file says, by directive; the last line counts. `real` and `execute` may be given more often. */
export type Settings = {
  readonly given: ReadonlyMap<DirectiveName, Given>;
  readonly reals: readonly Given[];
  readonly executes: readonly Given[];
};

export function directiveNamed(name: string): Directive | undefined {
  return Object.hasOwn(directives, name) ? directives[name as DirectiveName] : undefined;
}
