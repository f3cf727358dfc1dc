import { HeadgateError } from '../model/errors.ts';
import { suggest } from '../model/suggest.ts';
import {
  fixedSysctls,
  mostFtpPorts,
  type NumberSysctlName,
  type SysctlName,
  type Sysctls,
  sysctlNames,
  sysctlRanges,
  sysctlsAtOdds,
  sysctlText,
  sysctlTitle,
} from '../model/sysctls.ts';
import { connect, connectForRuntime } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { linesAbout, resolvePatterns, type SysctlLine, systemFiles } from './sysctl-files.ts';

const prefixes = ['net.ipv4.vs.', 'headgate.'];

export type SysctlOptions = {
  readonly output: Output;
  readonly all?: boolean;
  /** From these files, and the words are none. */
  readonly load?: readonly string[];
  readonly system?: boolean;
};

/** What is wanted of a parameter: to see it, or with values to set it. `fixed` is what a name always has. */
type Wish =
  | { readonly name: SysctlName; readonly values?: Partial<Sysctls> }
  | { readonly title: string; readonly fixed: string };

/** The kernel has a pair under one name. */
const pair = ['sync_threshold', 'sync_period'] as const;
const names = sysctlNames.filter((name) => name !== pair[1]);

/** `sysctl [NAME|NAME=VALUE...]`: shows parameters of the data plane, all without a name, and sets those with a value. */
export async function runSysctl(
  words: readonly string[],
  { output, all = false, load, system = false }: SysctlOptions,
  streams: Streams,
): Promise<void> {
  const fromFiles = load !== undefined || system;
  if (fromFiles && words.length > 0)
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot read files and take "${words[0]}" at once: wanted one of them`,
    );
  const wishes = fromFiles ? wishesOf(load ?? systemFiles(), streams) : words.map((word) => readWish(word));
  const changes = wishes.flatMap((wish) =>
    'name' in wish && wish.values ? Object.entries(wish.values) : [],
  );
  const controller = await (changes.length > 0 ? connectForRuntime('sysctl', streams.stderr) : connect());
  try {
    if (changes.length > 0) {
      const sysctls = Object.fromEntries(changes) as Partial<Sysctls>;
      const [refusal] = await controller.apply([{ kind: 'set-sysctls', sysctls }]);
      if (refusal) {
        const said = changes.map(([name, value]) => `${name}=${sysctlText(value)}`).join(' ');
        throw new HeadgateError('HG_APPLY_REFUSED', `Cannot set "${said}": ${refusal.detail}`);
      }
    }
    const { sysctls } = await controller.read({ counters: false });
    if (!sysctls)
      throw new HeadgateError(
        'HG_USAGE',
        `Cannot read parameters: the data plane "${controller.capabilities.name}" has none`,
      );
    const named = new Set(wishes.flatMap((wish) => ('name' in wish ? [wish.name] : [])));
    const everything = all || (wishes.length === 0 && !fromFiles);
    const shown = everything ? names : names.filter((name) => named.has(name));
    const fixed = wishes.flatMap((wish) => ('fixed' in wish ? [[wish.title, wish.fixed] as const] : []));
    const values = Object.fromEntries([
      ...shown.map((name) => [sysctlTitle(name), shownValue(name, sysctls)]),
      ...fixed,
    ]);
    await write(streams, output, values, () =>
      Object.entries(values)
        .map(([name, value]) => `${name} = ${value}\n`)
        .join(''),
    );
  } finally {
    await controller.close();
  }
}

const titles = [
  ...names.map(sysctlTitle),
  ...Object.keys(fixedSysctls).map((name) => `${prefixes[0]}${name}`),
];

/** What files say of our parameters. */
function wishesOf(files: readonly string[], streams: Streams): Wish[] {
  const lines = files.flatMap((file) => linesAbout(file, prefixes));
  return resolvePatterns(lines, titles, prefixes).flatMap((line) => wishOf(line, streams));
}

/** A line about what cannot be set is passed over with a word; a bad value ends it, but for one behind a dash. */
function wishOf(line: SysctlLine & { readonly value: string }, { stderr }: Streams): Wish[] {
  const { name, value, optional, place } = line;
  const plain = plainName(name);
  if (!isName(plain)) {
    const { value: only, because } = fixedSysctls[plain] ?? { because: 'there is no such parameter' };
    if (value.split(/\s/, 1)[0] !== only)
      stderr.write(`headgate: ${place}: ${name} stays as it is: ${because}\n`);
    return [];
  }
  try {
    return [{ name: plain, values: valuesIn(plain, value) }];
  } catch (error) {
    if (!(error instanceof HeadgateError)) throw error;
    if (!optional) throw new HeadgateError(error.code, `${place}: ${error.message}`);
    stderr.write(`headgate: ${place}: ${error.message}\n`);
    return [];
  }
}

const isName = (name: string): name is SysctlName => (names as readonly string[]).includes(name);

const shownValue = (name: SysctlName, sysctls: Sysctls): number | string => {
  if (name === pair[0]) return pair.map((one) => sysctls[one]).join('\t');
  return name === 'ftp_ports' ? sysctlText(sysctls.ftp_ports) : sysctls[name];
};

const plainName = (name: string): string => {
  const dotted = name.trim().replaceAll('/', '.');
  return dotted.slice(prefixes.find((one) => dotted.startsWith(one))?.length ?? 0);
};

function readWish(word: string): Wish {
  const [, typed = '', text] = /^([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const name = plainName(typed);
  if (isName(name)) return text === undefined ? { name } : { name, values: valuesIn(name, text) };
  if (!Object.hasOwn(fixedSysctls, name)) throw unknown(typed.trim(), name);
  const { value, because } = fixedSysctls[name]!;
  if (value !== undefined && (text === undefined || text.trim() === value))
    return { title: `net.ipv4.vs.${name}`, fixed: value };
  throw new HeadgateError(
    'HG_USAGE',
    text === undefined
      ? `Cannot show net.ipv4.vs.${name}: ${because}`
      : `Cannot set net.ipv4.vs.${name} to "${text}": ${because}`,
  );
}

function valuesIn(name: SysctlName, text: string): Partial<Sysctls> {
  if (name === 'ftp_ports') return { ftp_ports: portsIn(text) };
  if (name !== pair[0]) return { [name]: valueIn(name, text) };
  const words = text.trim().split(/\s+/);
  if (words.length >= pair.length)
    return Object.fromEntries(pair.map((one, i) => [one, valueIn(one, words[i]!)]));
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot set ${sysctlTitle(name)}: wanted two whole numbers, as "3 50", found "${text}"`,
  );
}

/** "21,2121"; "0": none. */
function portsIn(text: string): number[] {
  const ports =
    text.trim() === '0' ? [] : text.split(',').map((word) => (/^\s*\d+\s*$/.test(word) ? Number(word) : 0));
  if (sysctlsAtOdds({ ftp_ports: ports }) === undefined) return ports;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot set ${sysctlTitle('ftp_ports')}: wanted up to ${mostFtpPorts} ports, as "21,2121", or 0 for none, found "${text}"`,
  );
}

/** A number as the kernel reads one (proc_get_long): `010` and `0x8` are 8, and what stands behind a blank is not looked at. */
function valueIn(name: NumberSysctlName, text: string): number {
  const [least, most] = sysctlRanges[name];
  const word = /^\s*(0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)(?:\s|$)/i.exec(text)?.[1];
  const value = Number(word?.replace(/^0(?=[0-7])/, '0o'));
  if (value >= least && value <= most) return value;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot set ${sysctlTitle(name)}: wanted a whole number from ${least} to ${most}, found "${text}"`,
  );
}

function unknown(typed: string, plain: string): HeadgateError {
  const near = suggest(plain, [...names, ...Object.keys(fixedSysctls)]);
  return new HeadgateError(
    'HG_USAGE',
    `Cannot find the parameter "${typed}"${near === undefined ? '' : `: did you mean "${near}"?`}`,
    { hint: `those there are: ${names.join(', ')}` },
  );
}
