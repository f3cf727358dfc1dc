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

/** The same for items that come one by one: each a line of JSON, or a YAML document of its own. Resolves to the writer. */
export async function writerOf<Item>(
  { stdout }: Pick<Streams, 'stdout'>,
  output: Output,
  text: (item: Item) => string,
): Promise<(item: Item) => void> {
  if (output === 'text') return (item) => void stdout.write(text(item));
  if (output === 'json') return (item) => void stdout.write(`${JSON.stringify(item)}\n`);
  const yaml = await yamlWriter();
  return (item) => void stdout.write(`---\n${yaml(item)}`);
}

/**
 * The same for a list that is too long to be held: `add` writes the next items, `end` what closes it. Together they are what
 * `write` makes of all of them.
 */
export async function listWriterOf<Item>(
  { stdout }: Pick<Streams, 'stdout'>,
  output: Output,
  text: (items: readonly Item[]) => string,
): Promise<{ readonly add: (items: readonly Item[]) => void; readonly end: () => void }> {
  let isEmpty = true;
  const yaml = output === 'yaml' ? await yamlWriter() : undefined;
  const before = () => (output !== 'json' ? '' : isEmpty ? '[' : ',');
  const form = (items: readonly Item[]) =>
    output === 'text' ? text(items) : (yaml?.(items) ?? JSON.stringify(items).slice(1, -1));
  return {
    add(items) {
      if (items.length === 0) return;
      stdout.write(before() + form(items));
      isEmpty = false;
    },
    end() {
      if (isEmpty) stdout.write(output === 'json' ? '[]\n' : form([]));
      else if (output === 'json') stdout.write(']\n');
    },
  };
}

/**
 * A value as JSON or YAML. YAML is made of the JSON, so both hold the same; strings that YAML 1.1 takes for something
 * else (`on`, `10:30`) are quoted, because half of the readers there are still read 1.1.
 */
export async function dataText(form: Exclude<Output, 'text'>, value: unknown): Promise<string> {
  return form === 'json' ? `${JSON.stringify(value)}\n` : (await yamlWriter())(value);
}

async function yamlWriter(): Promise<(value: unknown) => string> {
  const { stringify } = await import('yaml');
  return (value) => stringify(JSON.parse(JSON.stringify(value)), { compat: 'yaml-1.1', lineWidth: 0 });
}
