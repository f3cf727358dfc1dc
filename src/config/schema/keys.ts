import * as z from 'zod';
import { formatDurationMs, parseDurationMs, parseSize } from '../quantities.ts';

/** What the reference says about a key, and what editors show. */
export type KeyDoc = {
  /** Meaning, one or more sentences. */
  readonly description: string;
  readonly examples?: readonly unknown[];
  /** What it is when it is left out, where that is more than a fixed value. */
  readonly leftOut?: string;
  /** What its value is, in words: the reference's second column. */
  readonly kind?: string;
};

/** A schema with what the reference says about it; to be called last, because documentation stays with one schema. */
export function key<S extends z.ZodType>(
  schema: S,
  description: string,
  doc: Omit<KeyDoc, 'description'> = {},
): S {
  // Not under the name "examples": zod takes those of a value that is transformed for values of its output.
  const { examples, ...rest } = doc;
  return schema.meta({ description, ...rest, ...(examples && { samples: [...examples] }) });
}

/**
 * An object that knows its keys. The message of an unknown key is the list of those it might have been, joined by
 * blanks: problems are made of it.
 */
export function object<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? Object.keys(shape).join(' ') : 'wanted keys and values',
  });
}

/** A list; `what` names one entry of it in messages. */
export function list<S extends z.ZodType>(items: S, what = 'values') {
  return z.array(items, { error: `wanted a list of ${what}` });
}

/** A text that `parse` understands; `wanted` says which, after "wanted". */
export function parsed<T>(wanted: string, parse: (text: string) => T | undefined, kind: string) {
  return z
    .string({ error: `wanted ${wanted}` })
    .transform((text, context): T => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', message: `wanted ${wanted}`, input: text });
      return z.NEVER;
    })
    .meta({ kind });
}

/** A whole number. */
export function integer(least: number, most: number) {
  const error = `wanted a whole number from ${least} to ${most}`;
  return z
    .int({ error })
    .min(least, { error })
    .max(most, { error })
    .meta({ kind: `${least} to ${most}` });
}

/** A duration within bounds, in milliseconds once read. */
export function duration(leastMs: number, mostMs: number) {
  const [least, most] = [formatDurationMs(leastMs), formatDurationMs(mostMs)];
  const wanted = `a duration from ${least} to ${most}, such as 500ms, 3s or 1h`;
  return parsed(
    wanted,
    (text) => {
      const value = parseDurationMs(text);
      return value !== undefined && value >= leastMs && value <= mostMs ? value : undefined;
    },
    `duration, ${least} to ${most}`,
  );
}

/** A duration of whole seconds within bounds, in seconds once read. */
export function seconds(least: number, most: number) {
  const [from, to] = [formatDurationMs(least * 1000), formatDurationMs(most * 1000)];
  return parsed(
    `a duration of whole seconds from ${from} to ${to}, such as 3s or 1h`,
    (text) => {
      const value = parseDurationMs(text);
      if (value === undefined || value % 1000 !== 0) return undefined;
      return value >= least * 1000 && value <= most * 1000 ? value / 1000 : undefined;
    },
    `duration of whole seconds, ${from} to ${to}`,
  );
}

/** A count such as 64Ki or 1000. */
export function size(least: number, most: number) {
  const wanted = `a size from ${least} to ${most}, such as 65536 or 64Ki`;
  return z
    .union([z.int(), z.string()], { error: `wanted ${wanted}` })
    .transform((value, context): number => {
      const number = typeof value === 'number' ? value : parseSize(value);
      if (number !== undefined && number >= least && number <= most) return number;
      context.issues.push({ code: 'custom', message: `wanted ${wanted}`, input: value });
      return z.NEVER;
    })
    .meta({ kind: `size, ${least} to ${most}` });
}

/** One word of a few. */
export function word<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z
    .enum(words, { error: `wanted ${oneOf(words)}` })
    .meta({ kind: words.map((one) => `\`${one}\``).join(', ') });
}

/** Words as a choice: `a or b`, `one of a, b, c`. */
export function oneOf(words: readonly string[]): string {
  return words.length <= 2 ? words.join(' or ') : `one of ${words.join(', ')}`;
}

/** Any text that is not empty. */
export function text(wanted = 'a text') {
  return z
    .string({ error: `wanted ${wanted}` })
    .min(1, { error: `wanted ${wanted}` })
    .meta({ kind: 'text' });
}

/** A program with its arguments; of these any may be empty, as it means something to the program. */
export function program() {
  return list(z.string({ error: 'wanted a text' }).meta({ kind: 'text' }), 'words')
    .min(1, { error: 'wanted a command: a list of words' })
    .refine(([program]) => program !== '', { error: 'wanted the name of a program', path: [0] });
}

/** true or false. */
export function flag() {
  return z.boolean({ error: 'wanted true or false' }).meta({ kind: '`true` or `false`' });
}

/** A name that commands take. */
export function name() {
  const error =
    'wanted a name of 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first';
  return z
    .string({ error })
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, { error })
    .meta({ kind: 'name' });
}
