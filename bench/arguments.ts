import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/** What a bench can be told, by its name: what it takes when nothing is said. The kind of each value is that of its default. */
type Defaults = Readonly<Record<string, string | number | boolean>>;
type Arguments<T extends Defaults> = {
  readonly [Name in keyof T]: T[Name] extends number ? number : T[Name] extends boolean ? boolean : string;
};

/**
 * The arguments of a bench, whose main file is `file`. `--help` prints the comment at the head of that file, and ends the
 * process; so does a wrong argument, with one line and status 2. A number must be above 0, or may be 0 where that is its
 * default. `-o` is `--output`.
 */
export function readArguments<T extends Defaults>(file: string, defaults: T): Arguments<T> {
  const { help, ...given } = parse(defaults);
  if (help === true) {
    process.stdout.write(headOf(file));
    process.exit();
  }
  const read = Object.entries(defaults).map(([name, usual]) => {
    const value = given[name] ?? usual;
    return [name, typeof usual === 'number' ? numberOf(name, String(value), usual) : value];
  });
  return Object.fromEntries(read) as Arguments<T>;
}

/** Ends a bench that was told something it cannot do. */
export function refuse(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

function parse(defaults: Defaults): Record<string, string | boolean | undefined> {
  const options = Object.entries(defaults).map(([name, usual]) => {
    const type = typeof usual === 'boolean' ? ('boolean' as const) : ('string' as const);
    return [name, { type, ...(name === 'output' && { short: 'o' }) }] as const;
  });
  try {
    const help = { type: 'boolean', short: 'h' } as const;
    return parseArgs({ options: { ...Object.fromEntries(options), help } }).values;
  } catch (error) {
    return refuse(`${error instanceof Error ? error.message : error} (--help says what there is)`);
  }
}

function numberOf(name: string, text: string, usual: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (Number.isFinite(value) && (value > 0 || value === usual)) return value;
  return refuse(`--${name} "${text}": wanted a number above 0; leave it out for ${usual}.`);
}

/** The first comment of a file, without its stars. */
function headOf(file: string): string {
  const comment = /\/\*\*\n([\s\S]*?)\n \*\//.exec(readFileSync(file, 'utf8'))?.[1] ?? '';
  return `${comment.replace(/^ \* ?/gm, '')}\n`;
}
