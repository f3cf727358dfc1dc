import * as z from 'zod';
import { configuration } from './schema/configuration.ts';

/** A JSON Schema, as far as it is looked into here. */
export type JsonSchema = {
  readonly [keyword: string]: unknown;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly default?: unknown;
  readonly samples?: readonly unknown[];
  readonly const?: unknown;
  readonly kind?: string;
  readonly leftOut?: string;
};

/** The schema of configuration files with what the reference needs besides: `kind`, `leftOut`, `samples`. */
export function documentedSchema(): JsonSchema {
  return z.toJSONSchema(configuration, { target: 'draft-07', io: 'input' }) as JsonSchema;
}

/** The JSON Schema (draft 7) of configuration files, as editors take it. */
export function configurationSchema(): JsonSchema {
  const { $schema, ...schema } = cleaned(documentedSchema()) as JsonSchema;
  return {
    $schema,
    title: 'Headgate configuration',
    ...schema,
    patternProperties: { '^x-': { description: 'A key of your own: not looked at; a place for anchors.' } },
  };
}

/** Without what only the reference needs; `samples` under the name editors know. */
function cleaned(value: unknown, inProperties = false): unknown {
  if (Array.isArray(value)) return value.map((item) => cleaned(item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).flatMap(([keyword, inner]): [string, unknown][] => {
    if (inProperties) return [[keyword, cleaned(inner)]];
    if (keyword === 'kind' || keyword === 'leftOut') return [];
    if (keyword === 'samples') return [['examples', inner]];
    return [[keyword, keyword === 'default' ? inner : cleaned(inner, keyword === 'properties')]];
  });
  return Object.fromEntries(entries);
}
