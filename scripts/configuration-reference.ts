import { documentedSchema, type JsonSchema } from '../src/config/json-schema.ts';

const introduction = `# Configuration reference

Every key of headgate.yaml; [configuration](../configuration.md) shows how to use them. Keys are there since version 0.1.0
where nothing else is said. Durations have a unit: \`500ms\`, \`3s\`, \`15m\`, \`1h30m\`, \`2d\`. Sizes may have one: \`k\`, \`M\`,
\`G\` are powers of 1000, \`Ki\`, \`Mi\`, \`Gi\` of 1024. Addresses are IPv4 or IPv6, with a port in brackets: \`"[2001:db8::1]:80"\`.

The text below is made from the schema in \`src/config/schema/\`.
`;

/** docs/reference/configuration.md, made from the schema. */
export function configurationReference(): string {
  const sections: string[] = [];
  const seen = new Map<string, string>();
  addSection('The file', documentedSchema(), { sections, seen });
  return [introduction, ...sections].join('\n');
}

type Page = { readonly sections: string[]; readonly seen: Map<string, string> };

/** Adds the section of an object, then those of the objects in it that have none yet. */
function addSection(title: string, schema: JsonSchema, page: Page): void {
  page.seen.set(title, fingerprint(schema));
  page.sections.push(
    `## ${title}\n\n${schema.oneOf ? kindsText(title, schema.oneOf) : `${tableOf(schema)}\n`}`,
  );
  for (const branch of schema.oneOf ?? [schema])
    for (const [key, value] of Object.entries(branch.properties ?? {})) {
      const inner = objectIn(value);
      if (!inner) continue;
      const before = page.seen.get(key);
      if (before === undefined) addSection(key, inner, page);
      else if (before !== fingerprint(inner))
        throw new Error(`Cannot document "${key}": two objects have that name`);
    }
}

const fingerprint = ({ properties, oneOf }: JsonSchema) => JSON.stringify([properties, oneOf]);

/** The object a value is, or is a list of, or may be. */
function objectIn(schema: JsonSchema): JsonSchema | undefined {
  if (schema.properties || schema.oneOf) return schema;
  if (schema.items) return objectIn(schema.items);
  return schema.anyOf?.map(objectIn).find((found) => found !== undefined);
}

/** Kinds of one thing: what all have in one table, the rest in one for each. */
function kindsText(title: string, kinds: readonly JsonSchema[]): string {
  const [first, ...others] = kinds.map(({ properties }) => properties ?? {});
  const shared = Object.keys(first!).filter(
    (key) =>
      key !== 'type' && others.every((one) => JSON.stringify(one[key]) === JSON.stringify(first![key])),
  );
  const types = kinds.map((kind) => String(kind.properties!.type!.const));
  const type = `| \`type\` | ${types.map((one) => `[${one}](#${title}-${one})`).join(', ')} | needed | What is done. |`;
  const text = [`${tableOf(pick(kinds[0]!, shared), type)}\n`];
  for (const kind of kinds) {
    const { type, ...rest } = kind.properties!;
    const own = Object.keys(rest).filter((key) => !shared.includes(key));
    const table = own.length === 0 ? '' : `\n${tableOf(pick(kind, own))}\n`;
    text.push(`### ${title} ${type!.const}\n\n${type!.description}\n${table}`);
  }
  return text.join('\n');
}

function pick(schema: JsonSchema, keys: readonly string[]): JsonSchema {
  const entries = Object.entries(schema.properties!).filter(([key]) => keys.includes(key));
  return { ...schema, properties: Object.fromEntries(entries) };
}

function tableOf({ properties, required = [] }: JsonSchema, ...first: readonly string[]): string {
  const rows = Object.entries(properties ?? {}).map(([key, schema]) => {
    const leftOut = leftOutText(schema, required.includes(key));
    return `| \`${key}\` | ${valueText(key, schema)} | ${leftOut} | ${meaningText(key, schema)} |`;
  });
  return ['| Key | Value | Left out | Meaning |', '|---|---|---|---|', ...first, ...rows].join('\n');
}

function valueText(key: string, schema: JsonSchema): string {
  if (schema.kind !== undefined && (!objectIn(schema) || schema.kind.includes('](#'))) return schema.kind;
  const link = `[${key}](#${key.toLowerCase()})`;
  if (objectIn(schema)) {
    if (schema.items) return `list of ${link}`;
    const other = schema.anyOf?.find((one) => !objectIn(one))?.kind;
    return other === undefined ? link : `${other}, or ${link}`;
  }
  if (schema.items?.kind !== undefined) return `list: ${schema.items.kind}`;
  throw new Error(`Cannot document "${key}": nothing says what its value is`);
}

function leftOutText(schema: JsonSchema, needed: boolean): string {
  if (needed) return 'needed';
  if (schema.leftOut !== undefined) return schema.leftOut;
  const value = schema.default ?? (schema.items ? [] : undefined);
  if (value === undefined)
    throw new Error(`Cannot document "${schema.description}": no default and no "leftOut"`);
  return Array.isArray(value) && value.length === 0 ? 'none' : code(value);
}

function meaningText(key: string, { description, samples = [] }: JsonSchema): string {
  if (description === undefined) throw new Error(`Cannot document "${key}": it has no description`);
  const examples = samples.map((one) => code(`${key}: ${yamlText(one)}`));
  return [description, ...(examples.length > 0 ? [`Example: ${examples.join(' or ')}.`] : [])].join(' ');
}

/** A value as one line of YAML. */
function yamlText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(yamlText).join(', ')}]`;
  if (typeof value === 'string' && value.startsWith('[')) return `"${value}"`;
  if (typeof value !== 'object' || value === null) return String(value);
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key}: ${yamlText(inner)}`)
    .join(', ')} }`;
}

function code(value: unknown): string {
  return `\`${String(value).replaceAll('|', '\\|')}\``;
}
