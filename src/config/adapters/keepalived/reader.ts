import { dirname, isAbsolute, join } from 'node:path';
import type { Problem } from '../../../model/errors.ts';
import { problemAt, type Source, type Span, sourceOf } from '../../../model/problem.ts';
import { type Files, readBytes } from '../../files.ts';
import { decodeRules } from '../../ipvsadm/rule-words.ts';
import { limits } from '../../limits.ts';
import type { Environment } from '../../variables.ts';
import { matchFiles } from './glob.ts';
import type { Notes } from './notes.ts';
import { definitionIn, expand, type Parameter, type Parameters } from './parameters.ts';
import { readRepetition, repeats } from './sequences.ts';
import { cut, type Line, trimmed, withoutComment } from './words.ts';

export type ReaderContext = {
  readonly files: Files;
  readonly environment: Environment;
  /** What `@id` lines are compared with: the first label of the host's name, unless something else is said. */
  readonly configId: string;
  readonly notes: Notes;
  readonly problems: Problem[];
};

/** All lines of a file with those it includes, none where they have no end; and the files that were read after the first. */
export type ReadLines = { readonly lines: readonly Line[]; readonly files: readonly string[] };

/** How many lines there may be once everything is put in, and how deep definitions may stand in each other. */
const bounds = { lines: 200_000, signs: 32 * 1024 * 1024, depth: 40, includes: 40 };

type Check = { readable: boolean; match: boolean; wildcard: boolean; brace: boolean };

type State = ReaderContext & {
  readonly lines: Line[];
  readonly names: string[];
  readonly parameters: Map<string, Parameter>;
  readonly open: Set<string>;
  /** What every include is checked for. */
  check: Check;
  signs: number;
  full: boolean;
};

/** A definition that goes on in the next line. */
type Pending = { readonly name: string; readonly lines: Line[]; readonly span: Span };

/**
 * Reads a keepalived.conf as keepalived does: comments, `include`, `@id`, `$NAME=`, `~SEQ` and `~LST` are done with, and lines are
 * cut at braces. Bounded: what is endless is a problem. Throws nothing.
 */
export function readLines(source: Source, context: ReaderContext): ReadLines {
  const check = { readable: false, match: false, wildcard: false, brace: false };
  const state: State = {
    ...context,
    ...{ lines: [], names: [], parameters: new Map(), open: new Set(), check },
    ...{ signs: 0, full: false },
  };
  readSource(source, state, 0);
  return { lines: state.full ? [] : state.lines, files: state.names };
}

function readSource(source: Source, state: State, depth: number): void {
  const identity = state.files.identity(source.name);
  state.open.add(identity);
  const before = { ...state.check };
  let pending: Pending | undefined;
  for (const line of physicalLines(source)) {
    if (state.full) break;
    if (line.text === '') {
      if (pending) define(pending, state);
      pending = undefined;
      continue;
    }
    const { line: said, goesOn, open } = withoutComment(line);
    if (open) state.notes.wrong('changed', said.span, 'a quote is not closed: it ends with the line');
    if (said.text === '' && !goesOn) continue;
    if (pending) {
      if (said.text !== '') pending.lines.push(said);
      state.notes.kept(said.span, `a line of $${pending.name}`);
      if (!goesOn) define(pending, state);
      if (!goesOn) pending = undefined;
      continue;
    }
    pending = follow(said, goesOn, source.name, state, depth);
  }
  if (pending) define(pending, state);
  state.check = before;
  state.open.delete(identity);
}

/** The lines of a file without what ends them. */
function physicalLines(source: Source): Line[] {
  return source.lineStarts.map((start, i) => {
    const next = source.lineStarts[i + 1] ?? source.text.length + 1;
    const text = source.text.slice(start, next - 1).replace(/\r+$/, '');
    return { text, span: { source, start, end: start + text.length }, exact: true };
  });
}

function define({ name, lines }: Pending, { parameters }: State): void {
  parameters.set(name, { lines });
}

/** Acts on a line; what it begins and the next line goes on with is returned. */
function follow(line: Line, goesOn: boolean, file: string, state: State, depth: number): Pending | undefined {
  const { notes } = state;
  const chosen = condition(line, state);
  if (!chosen) return undefined;
  const definition = definitionIn(chosen.text);
  if (definition) {
    const value = cut(chosen, definition.valueAt, chosen.text.length);
    const lines = goesOn && value.text === '' ? [] : [value];
    notes.kept(chosen.span, `what $${definition.name} stands for`);
    if (goesOn) return { name: definition.name, lines, span: chosen.span };
    state.parameters.set(definition.name, { lines });
    return undefined;
  }
  if (repeats(chosen.text)) repeat(chosen, file, state, depth);
  else emit(chosen, file, state, depth);
  return undefined;
}

/** The line an `@id` or `@^id` stands before, where it holds here. */
function condition(line: Line, state: State): Line | undefined {
  const { configId, notes } = state;
  const match = /^@(\^?)([^ \t]*)(?:[ \t]+|$)/.exec(line.text);
  if (!match) return line;
  const [whole, not, id] = match;
  if (whole.length === line.text.length) {
    notes.wrong('ignored', line.span, 'nothing follows the configuration id');
    return undefined;
  }
  if ((id === configId) !== (not === '')) {
    const holds = not === '' ? `for configuration id "${id}"` : `for all configuration ids but "${id}"`;
    notes.changed(line.span, `it holds ${holds}; this is "${configId}"`);
    return undefined;
  }
  return condition(cut(line, whole.length, line.text.length), state);
}

function repeat(line: Line, file: string, state: State, depth: number): void {
  const close = line.text.indexOf(')');
  const head = expand(cut(line, 0, close + 1), parametersOf(file, state));
  const rest = close < 0 ? '' : line.text.slice(close + 1);
  const text = head === 'endless' ? line.text : head.first.text + rest;
  const repetition = depth > bounds.depth || head === 'endless' ? 'endless' : readRepetition(text);
  if (repetition === 'endless') {
    tooMuch(line, state);
    return;
  }
  if (!repetition) {
    state.notes.wrong('ignored', line.span, 'it is no ~SEQ and no ~LST');
    return;
  }
  state.notes.kept(line.span, 'repeated');
  for (const set of repetition.sets) {
    if (state.full) return;
    for (const [name, value] of Object.entries(set))
      state.parameters.set(name, { lines: [{ text: value, span: line.span, exact: false }] });
    const again: Line = { text: text.slice(repetition.textAt), span: line.span, exact: false };
    follow(again, false, file, state, depth + 1);
  }
}

/** Puts parameters in, follows includes, and adds what is left to the lines. */
function emit(line: Line, file: string, state: State, depth: number): void {
  const expanded = depth > bounds.depth ? 'endless' : expand(line, parametersOf(file, state));
  if (expanded === 'endless') {
    tooMuch(line, state);
    return;
  }
  const { first, rest } = expanded;
  if (line.text.includes('${_RANDOM'))
    state.notes.changed(line.span, 'a random number is the least one here: nothing may depend on chance');
  if (first === line) {
    if (!include(first, file, state, depth)) add(first, state);
    return;
  }
  for (const one of [trimmed(first), ...rest]) {
    if (one.text !== '') follow(one, false, file, state, depth + 1);
  }
}

function tooMuch(line: Line, state: State): void {
  if (state.full) return;
  state.full = true;
  const message = 'file: more than can be followed, with all that is put in and repeated';
  state.problems.push(
    problemAt(line.span, 'HG_CONFIG_SIZE', message, 'Look for a definition that holds itself.'),
  );
}

/** Cuts a line at braces: each stands alone. */
function add(line: Line, state: State): void {
  state.signs += line.text.length;
  if (state.lines.length > bounds.lines || state.signs > bounds.signs) {
    tooMuch(line, state);
    return;
  }
  let rest = trimmed(line);
  while (rest.text !== '') {
    const brace = firstBrace(rest.text);
    const end = brace < 0 ? rest.text.length : brace === 0 ? 1 : brace;
    state.lines.push(trimmed(cut(rest, 0, end)));
    rest = trimmed(cut(rest, end, rest.text.length));
  }
}

/** The first brace outside of double quotes; -1 where there is none. */
function firstBrace(text: string): number {
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '{' || text[at] === '}') return at;
    if (text[at] !== '"') continue;
    at = text.indexOf('"', at + 1);
    if (at < 0) return -1;
  }
  return -1;
}

function parametersOf(file: string, state: State): Parameters {
  const single = (text: string): Parameter => ({
    lines: [{ text, span: { source: sourceOf('', ''), start: 0, end: 0 }, exact: false }],
  });
  return {
    get: (name, words) => {
      if (words === '' && state.parameters.has(name)) return state.parameters.get(name);
      if (name === '_ENV') return single(state.environment[words] ?? '');
      if (name === '_RANDOM') return single(words.split(/ +/)[0] || '0');
      if (words !== '') return undefined;
      if (name === '_PWD') return single(dirname(file));
      if (name === '_INSTANCE') return single(state.configId);
      if (name === '_HASH') return single('#');
      return name === '_BANG' ? single('!') : undefined;
    },
    set: (name, parameter) => state.parameters.set(name, parameter),
  };
}

const includeForm = /^include([rmwba]?)[ \t]+(.*)$/s;

/** Whether a line includes files; they are read. */
function include(line: Line, file: string, state: State, depth: number): boolean {
  const level = /^include_check[ \t]+(.*)$/s.exec(line.text);
  if (level) setCheck(level[1]!, state);
  const match = includeForm.exec(line.text);
  if (!match) return false;
  const [, letter = '', pattern = ''] = match;
  const check = checkOf(letter, state.check);
  const path = isAbsolute(pattern) ? pattern : join(dirname(file), pattern);
  const found = depth > bounds.includes ? undefined : matchFiles(path, state.files);
  if (!found) {
    tooMuch(line, state);
    return true;
  }
  state.notes.kept(line.span, 'included');
  const needed = found.wild ? check.wildcard : check.match;
  if (found.files.length === 0) {
    const message = `include "${pattern}": wanted a file, found none`;
    if (needed || (found.missing.length > 1 && check.brace))
      report(state, line, 'HG_CONFIG_INCLUDE', message);
    else state.notes.wrong('changed', line.span, `no file is "${pattern}"`);
  } else if (found.missing.length > 0 && check.brace)
    report(state, line, 'HG_CONFIG_INCLUDE', `include "${found.missing[0]}": wanted a file, found none`);
  for (const one of found.files) readIncluded(one, line, check.readable, state, depth);
  return true;
}

function readIncluded(path: string, line: Line, strict: boolean, state: State, depth: number): void {
  if (state.full) return;
  if (state.open.has(state.files.identity(path))) {
    report(state, line, 'HG_CONFIG_INCLUDE', `include "${path}": a circle, it is being read already`);
    return;
  }
  if (state.names.length >= limits.files) {
    tooMuch(line, state);
    return;
  }
  const read = readBytes(path, state.files);
  if ('reason' in read) {
    const message = `include "${path}": ${read.reason}`;
    if (read.code === 'HG_CONFIG_SIZE') report(state, line, read.code, message);
    else if (strict) report(state, line, 'HG_CONFIG_INCLUDE', message);
    else state.notes.wrong('changed', line.span, message);
    return;
  }
  state.names.push(path);
  readSource(sourceOf(path, decodeRules(read.bytes)), state, depth + 1);
}

function report(
  state: State,
  line: Line,
  code: 'HG_CONFIG_INCLUDE' | 'HG_CONFIG_SIZE',
  message: string,
): void {
  state.problems.push(problemAt(line.span, code, message));
}

const none: Check = { readable: false, match: false, wildcard: false, brace: false };

/** What `includer`, `includem` and so on want to be there, with what is wanted of all. */
function checkOf(letter: string, always: Check): Check {
  const own: Check =
    letter === ''
      ? none
      : {
          readable: true,
          match: 'mwa'.includes(letter),
          wildcard: 'wa'.includes(letter),
          brace: 'ba'.includes(letter),
        };
  return {
    readable: own.readable || always.readable,
    match: own.match || always.match,
    wildcard: own.wildcard || always.wildcard,
    brace: own.brace || always.brace,
  };
}

/** `include_check [+|-] readable match wildcard_match brace_match all`. */
function setCheck(words: string, state: State): void {
  for (const word of words.split(/[ \t]+/).filter((one) => one !== '')) {
    const name = word.replace(/^[+-]/, '');
    const value = !word.startsWith('-');
    if (!/^[+-]/.test(word) && word === words.split(/[ \t]+/)[0]) state.check = { ...none };
    if (name === 'readable' || name === 'all') state.check.readable = value;
    if (name === 'match' || name === 'all') state.check.match = value;
    if (name === 'wildcard_match' || name === 'all') state.check.wildcard = value;
    if (name === 'brace_match' || name === 'all') state.check.brace = value;
  }
}
