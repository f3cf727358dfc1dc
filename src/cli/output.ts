import type { Streams } from './context.ts';

/** Forms an answer can be asked for in, with `-o`. */
export const outputs = ['text', 'json', 'yaml'] as const;

export type Output = (typeof outputs)[number];

/**
 * Writes a command's answer to standard output: `value` as one line of JSON or as YAML, or what `text` makes for a
 * person. Every command that takes `-o` answers here, so that the forms cannot come to say different things.
 */
export async function write(
  { stdout }: Pick<Streams, 'stdout'>,
  output: Output,
  value: unknown,
  text: () => string,
): Promise<void> {
  stdout.write(output === 'text' ? text() : await dataText(output, value));
}

/**
 * A value as JSON or YAML. YAML is made of the JSON, so both hold the same; strings that YAML 1.1 takes for something
 * else (`on`, `10:30`) are quoted, because half of the readers there are still read 1.1.
 */
export async function dataText(form: Exclude<Output, 'text'>, value: unknown): Promise<string> {
  const json = JSON.stringify(value);
  if (form === 'json') return `${json}\n`;
  const { stringify } = await import('yaml');
  return stringify(JSON.parse(json), { compat: 'yaml-1.1', lineWidth: 0 });
}
