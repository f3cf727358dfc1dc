import type { Problem } from '../model/errors.ts';
import { problemAt, type Span } from '../model/problem.ts';
import type { ScalarValue } from './tree.ts';

/** What `${NAME}` stands for. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Stand-ins for the braces of a variable while YAML is parsed, because braces end a plain scalar between `{` and `}` or
 * `[` and `]`. Unicode keeps these two for use inside of a program.
 */
const open = '\ufdd0';
const close = '\ufdd1';

/** A text with the braces of its variables replaced, sign by sign, so that offsets stay. */
export function guardVariables(text: string): string {
  if (!text.includes('${')) return text;
  return text.replaceAll(/\$\{([^{}\n]*)\}/g, `$$${open}$1${close}`);
}

/** The text as it was written. */
export function unguarded(text: string): string {
  return text.replaceAll(open, '{').replaceAll(close, '}');
}

const form = new RegExp(
  `\\$\\$[{${open}]|\\$${open}([A-Za-z_][A-Za-z0-9_]*)(:-([^${close}]*))?${close}|\\$[{${open}]`,
  'g',
);

/**
 * Puts `${NAME}` and `${NAME:-default}` into the guarded text of a scalar; the default also stands for an empty variable, as in
 * sh(1). `$${` is `${` as it stands. `raw` is the scalar as written, quotes included: places point into it.
 * Undefined where something was wrong, which is in `problems` then.
 */
export function expandVariables(
  text: string,
  raw: Span,
  environment: Environment,
  problems: Problem[],
): string | undefined {
  const before = problems.length;
  let searched = raw.start;
  const expanded = text.replaceAll(form, (match, name?: string, withDefault?: string, otherwise = '') => {
    const start = Math.max(raw.start, raw.source.text.indexOf('${', searched));
    searched = start + 2;
    if (match.startsWith('$$')) return `$${open}`;
    const span = { source: raw.source, start, end: Math.min(raw.end, start + match.length) };
    if (name === undefined) {
      const message = `variable: wanted \${NAME} or \${NAME:-default}, found "\${" without them`;
      problems.push(problemAt(span, 'HG_CONFIG_VARIABLE', message));
      return match;
    }
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (withDefault !== undefined) return value === undefined || value === '' ? otherwise : value;
    if (value !== undefined) return value;
    problems.push(
      problemAt(
        span,
        'HG_CONFIG_VARIABLE',
        `variable "${name}": not set`,
        `set it, or write \${${name}:-default}`,
      ),
    );
    return match;
  });
  return problems.length > before ? undefined : unguarded(expanded);
}

/** The value of a plain scalar by the core schema of YAML 1.2 (10.3.2), as it would be without a variable in it. */
export function plainScalar(text: string): ScalarValue {
  // Most text begins with a letter that no other type begins with.
  if (/^[^-+.0-9~nNtTfF]/.test(text)) return text;
  if (/^(?:null|Null|NULL|~|)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  const decimal = /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/.test(text);
  if (decimal || /^0o[0-7]+$/.test(text) || /^0x[0-9a-fA-F]+$/.test(text)) return Number(text);
  if (/^[-+]?\.(?:inf|Inf|INF)$/.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return /^\.(?:nan|NaN|NAN)$/.test(text) ? Number.NaN : text;
}
