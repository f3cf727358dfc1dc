import { type Context, createContext, Script } from 'node:vm';
import { CheckFailure } from './check.ts';

/** How long one expression may take; all other checks wait meanwhile. */
const timeLimitMs = 50;

/** How often a machine that has too much to do may take that time for something else. */
const mostAttempts = 5;

export type MatchOptions = readonly ('ignoreCase' | 'multiline' | 'dotAll')[];

const flags = { ignoreCase: 'i', multiline: 'm', dotAll: 's' } as const;

let engine: { readonly script: Script; readonly context: Context } | undefined;

/**
 * Whether an expression matches somewhere in a text. Expressions can take time exponential in the length of the text,
 * which the other side chooses: after `timeLimitMs` the check fails and says so.
 */
export function matches(source: string, options: MatchOptions, text: string): boolean {
  const expression = new RegExp(source, options.map((option) => flags[option]).join(''));
  for (let attempt = 1; attempt <= mostAttempts; attempt++) {
    const before = process.cpuUsage();
    const found = matchesInTime(expression, text);
    if (found !== undefined) return found;
    const { user, system } = process.cpuUsage(before);
    // The limit is one of the clock: where the processor was with other programs, nothing is said about the expression.
    if ((user + system) / 1000 > timeLimitMs / 2) break;
  }
  throw new CheckFailure(
    'expect',
    `/${source}/ took more than ${timeLimitMs}ms on ${text.length} characters: write it so that it cannot backtrack that much`,
  );
}

/** Undefined where the time is over. */
function matchesInTime(expression: RegExp, text: string): boolean | undefined {
  engine ??= { script: new Script('expression.test(text)'), context: createContext({ __proto__: null }) };
  const { script, context } = engine;
  try {
    context.expression = expression;
    context.text = text;
    // Elsewhere than in vm nothing can interrupt the engine of expressions.
    return script.runInContext(context, { timeout: timeLimitMs }) === true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    return undefined;
  } finally {
    context.text = undefined;
  }
}
