import type { Problem } from '../../../model/errors.ts';
import { problemAt } from '../../../model/problem.ts';
import { suggest } from '../../../model/suggest.ts';
import type { Tell } from '../adapter.ts';
import {
  type DirectiveName,
  directiveNamed,
  directives,
  type Given,
  type Scope,
  type Settings,
} from './directives.ts';
import { type Line, lineNumber } from './lines.ts';

/** Where the directives stand that are read: what may stand there, and for messages what else may be meant. */
const elsewhere: Readonly<Record<'global' | 'service', { wanted: string; hint: string }>> = {
  global: {
    wanted: 'wanted below a virtual service, indented',
    hint: 'indent the line by a tab, below the "virtual" line it is for',
  },
  service: {
    wanted: 'wanted for all virtual services, not for one',
    hint: 'put the line above the first "virtual" line, without blanks in front',
  },
};

/** Reads what directives say, each as ldirectord does; what it refuses is a problem. */
export function readSettings(
  lines: readonly Line[],
  place: 'global' | 'service',
  tell: Tell,
  problems: Problem[],
): Settings {
  const given = new Map<DirectiveName, Given>();
  const reals: Given[] = [];
  const executes: Given[] = [];
  for (const line of lines) {
    const found = readLine(line, place);
    if ('code' in found) {
      problems.push(found);
      continue;
    }
    const { name, text } = found;
    if (name === 'real' || name === 'real6') {
      reals.push({ text, line });
      continue;
    }
    if (name === 'execute') {
      executes.push({ text, line });
      continue;
    }
    const before = given.get(name);
    if (before) tell('changed', before.line.span, `"${name}" counts as line ${lineNumber(line)} says it`);
    given.set(name, { text, line });
  }
  return { given, reals, executes };
}

function readLine(line: Line, place: 'global' | 'service'): { name: DirectiveName; text: string } | Problem {
  const { name, value } = line;
  const shown = name.text.length > 40 ? `${name.text.slice(0, 37)}...` : name.text;
  const mistake = (span: Line['span'], message: string, hint?: string) =>
    problemAt(span, 'HG_CONFIG_RULE', message, hint);
  const directive = directiveNamed(name.text);
  if (!directive) {
    const near = suggest(name.text.slice(0, 40), Object.keys(directives));
    const hint = near === undefined ? 'ldirectord(8) lists its directives' : `did you mean "${near}"?`;
    return mistake(name.span, `"${shown}": wanted a directive of ldirectord, found none of that name`, hint);
  }
  if (!mayStand(directive.scope, place)) {
    const { wanted, hint } = elsewhere[place];
    return mistake(name.span, `"${shown}": ${wanted}`, hint);
  }
  if (!value) {
    // A bare "supervised" is what old versions took.
    if (name.text === 'supervised') return { name: 'supervised', text: 'yes' };
    return mistake(line.span, `"${shown}": wanted "${shown} = ${directive.wanted}", found no "="`);
  }
  const text = directive.read(value.text);
  if (text !== undefined) return { name: name.text as DirectiveName, text };
  const found = value.text.length > 60 ? `${value.text.slice(0, 57)}...` : value.text;
  return mistake(
    value.span,
    `"${shown}": wanted ${directive.wanted}, found ${found === '' ? 'nothing' : `"${found}"`}`,
    hintFor(line),
  );
}

function mayStand(scope: Scope, place: 'global' | 'service'): boolean {
  return scope === 'both' || scope === place;
}

/** A quotation mark that a comment has cut off is hard to see. */
function hintFor({ value, span }: Line): string | undefined {
  const rest = span.source.text.slice(span.end).split('\n', 1)[0] ?? '';
  if (value?.text.startsWith('"') && rest.trimStart().startsWith('#'))
    return 'a "#" begins a comment, inside of quotes as well: leave it out';
  if (value?.text.startsWith("'")) return 'write double quotes';
  return undefined;
}
