import type { Environment } from '../variables.ts';
import type { Piece, ShellCommand, ShellWord } from './shell-words.ts';

/** A stretch of the script. */
export type Stretch = { readonly start: number; readonly end: number };

/** A word with its variables put in; `unknown` names what could not be. */
export type Word = Stretch & { readonly text: string; readonly unknown?: string };

/** A command as it would be run. */
export type Run = Stretch & { readonly words: readonly Word[]; readonly comments: readonly string[] };

export type Visitor = {
  /** A command that runs, in the order of running. */
  command(run: Run): void;
  /** Words that only set variables. */
  assignment(at: Stretch): void;
  /** A command that does not run, or of which nobody can say whether it does. */
  skipped(run: Run, reason: string): void;
};

/** Words and signs that following a script may make of it, several times what the longest file holds. */
const greatestCost = 8_000_000;
const costOfStep = 20;
const longestVariable = 4096;
const deepestCall = 20;

/**
 * Follows a shell script as far as that can be done without running it: variables, `for` over words, functions, the
 * branch `start)` of a `case`, `exit`. Each command is taken to succeed, so what stands behind `||` does not run. What
 * stands inside `if`, `while` and `until` depends on the machine and is skipped. False: it was too much, and ended.
 */
export function followShell(
  commands: readonly ShellCommand[],
  environment: Environment,
  visitor: Visitor,
): boolean {
  const shell: Shell = {
    visitor,
    variables: new Map(),
    environment,
    functions: new Map(),
    called: new Set(),
    cost: 0,
    depth: 0,
    exited: false,
  };
  const cursor: Cursor = { items: commands.flatMap(itemsOf), at: 0, depth: 0 };
  const body = parseBody(cursor, () => false);
  run(body, shell);
  for (const [name, { body: uncalled }] of shell.functions)
    if (!shell.called.has(name))
      skip(uncalled, `it stands in the function "${name}", which is not called`, shell);
  return shell.cost <= greatestCost;
}

/** A command without keywords, or a keyword with the words that belong to it. */
type Item = { readonly keyword?: string; readonly command: ShellCommand };

type Statement =
  | { readonly kind: 'command'; readonly command: ShellCommand }
  | { readonly kind: 'for'; readonly head: ShellCommand; readonly body: readonly Statement[] }
  | { readonly kind: 'case'; readonly branches: readonly Branch[] }
  | { readonly kind: 'function'; readonly name: string; readonly body: readonly Statement[] }
  | { readonly kind: 'unsure'; readonly word: string; readonly body: readonly Statement[] };
type Branch = { readonly patterns: readonly string[]; readonly body: readonly Statement[] };

type Cursor = { readonly items: readonly Item[]; at: number; depth: number };

/** Deeper ones are read as if their keywords were not there. */
const deepestNesting = 50;

const alone = new Set(['if', 'then', 'else', 'elif', 'fi', 'while', 'until', 'do', 'done', 'esac', '{', '}']);
const transparent = new Set(['!', 'time', 'sudo', 'exec', 'command', 'nohup']);

/** The text of a word without variables and quotes; undefined for others. */
function literal(word: ShellWord | undefined): string | undefined {
  const [piece, more] = word?.pieces ?? [];
  return piece?.kind === 'text' && !piece.quoted && more === undefined ? piece.text : undefined;
}

const textOf = ({ pieces }: ShellWord): string =>
  pieces.map((piece) => (piece.kind === 'text' ? piece.text : '$')).join('');

/** A command taken apart at the keywords it begins with. */
function itemsOf(command: ShellCommand): Item[] {
  const items: Item[] = [];
  const { words, end } = command;
  const from = (first: number, last?: number): ShellCommand => ({
    ...command,
    words: words.slice(first, last),
    start: words[first]?.start ?? end,
  });
  for (let at = 0; at <= words.length; at++) {
    const first = literal(words[at]);
    if (first === 'for' || first === 'case') return [...items, { keyword: first, command: from(at) }];
    if (first === 'function') {
      items.push({ keyword: first, command: from(at, at + 2) });
      at++;
    } else if (first !== undefined && alone.has(first))
      items.push({ keyword: first, command: from(at, at + 1) });
    else {
      if (at < words.length || items.length === 0 || command.ended === ';;')
        items.push({ command: from(at) });
      break;
    }
  }
  return items;
}

function parseBody(cursor: Cursor, ends: (item: Item) => boolean, isBranch = false): Statement[] {
  const body: Statement[] = [];
  cursor.depth++;
  while (cursor.at < cursor.items.length) {
    const item = cursor.items[cursor.at]!;
    if (ends(item)) break;
    cursor.at++;
    const statement = parseStatement(item, cursor);
    if (statement) body.push(statement);
    if (isBranch && item.command.ended === ';;' && item.keyword === undefined) break;
  }
  cursor.depth--;
  return body;
}

const isKeyword =
  (...words: string[]) =>
  ({ keyword }: Item) =>
    keyword !== undefined && words.includes(keyword);

function parseStatement(item: Item, cursor: Cursor): Statement | undefined {
  const { keyword, command } = item;
  if (keyword !== undefined && cursor.depth > deepestNesting) return undefined;
  const close = (word: string): readonly Statement[] => {
    const body = parseBody(cursor, isKeyword(word));
    cursor.at++;
    return body;
  };
  if (keyword === 'for') {
    parseBody(cursor, isKeyword('do'));
    cursor.at++;
    return { kind: 'for', head: command, body: close('done') };
  }
  if (keyword === 'while' || keyword === 'until')
    return { kind: 'unsure', word: keyword, body: close('done') };
  if (keyword === 'if') return { kind: 'unsure', word: keyword, body: close('fi') };
  if (keyword === 'case') return { kind: 'case', branches: parseBranches(command, cursor) };
  const name = literal(command.words[keyword === 'function' ? 1 : 0]);
  const defines = keyword === 'function' || (command.ended === '(' && command.words.length === 1);
  if (defines && name !== undefined) {
    while (isParenthesis(cursor.items[cursor.at])) cursor.at++;
    if (cursor.items[cursor.at]?.keyword === '{') cursor.at++;
    return { kind: 'function', name, body: close('}') };
  }
  return keyword === undefined && command.words.length > 0 ? { kind: 'command', command } : undefined;
}

const isParenthesis = (item: Item | undefined): boolean =>
  item !== undefined && item.keyword === undefined && item.command.words.length === 0;

function parseBranches(head: ShellCommand, cursor: Cursor): Branch[] {
  const branches: Branch[] = [];
  // `case WORD in start)`: the pattern stands in the same command.
  let patterns = head.words.slice(3).map(textOf);
  const begin = () => {
    const branch = { patterns, body: parseBody(cursor, isKeyword('esac'), true) };
    branches.push(branch);
    patterns = [];
  };
  if (head.ended === ')') begin();
  while (cursor.at < cursor.items.length) {
    const item = cursor.items[cursor.at++]!;
    if (item.keyword === 'esac') break;
    patterns.push(...item.command.words.map(textOf));
    if (item.command.ended === ')') begin();
  }
  return branches;
}

type Shell = {
  readonly visitor: Visitor;
  readonly variables: Map<string, string | undefined>;
  readonly environment: Environment;
  readonly functions: Map<string, { readonly body: readonly Statement[] }>;
  readonly called: Set<string>;
  cost: number;
  depth: number;
  exited: boolean;
};

/** Counts one more step; whether that was one too many. */
function isTooMuch(shell: Shell): boolean {
  shell.cost += costOfStep;
  return shell.cost > greatestCost;
}

function run(body: readonly Statement[], shell: Shell): void {
  let before: ShellCommand | undefined;
  for (const statement of body) {
    if (shell.exited) skip([statement], 'it stands behind "exit"', shell);
    else if (statement.kind === 'command') {
      runCommand(statement.command, before, shell);
      before = statement.command;
      continue;
    } else if (statement.kind === 'function') shell.functions.set(statement.name, statement);
    else if (statement.kind === 'for') runFor(statement.head, statement.body, shell);
    else if (statement.kind === 'case') runCase(statement.branches, shell);
    else {
      const { word } = statement;
      skip(statement.body, `it stands inside "${word}", and whether it runs is not known before`, shell);
    }
    before = undefined;
  }
}

function runCommand(command: ShellCommand, before: ShellCommand | undefined, shell: Shell): void {
  if (isTooMuch(shell)) return;
  const { visitor } = shell;
  if (assignments(command, shell)) {
    visitor.assignment(command);
    return;
  }
  const found = expanded(command, shell);
  if (shell.cost > greatestCost) return;
  const name = found.words[0]?.text;
  const called = name === undefined ? undefined : shell.functions.get(name);
  if (before?.ended === '||') visitor.skipped(found, 'it runs only if the command before fails');
  else if (name !== undefined && called && shell.depth < deepestCall) {
    shell.called.add(name);
    shell.depth++;
    run(called.body, shell);
    shell.depth--;
  } else if (name === 'exit' && before?.ended !== '&&') shell.exited = true;
  else visitor.command(found);
}

/** A command with its variables put in, without words that only say how it is run. */
function expanded({ words, start, end, comments }: ShellCommand, shell: Shell): Run {
  const texts = words.flatMap((word) => expand(word, shell));
  while (transparent.has(texts[0]?.text ?? '')) texts.shift();
  return { words: texts, start, end, comments };
}

function runFor(head: ShellCommand, body: readonly Statement[], shell: Shell): void {
  const name = literal(head.words[1]);
  const items = head.words.slice(3).flatMap((word) => expand(word, shell));
  if (name === undefined || items.length === 0 || items.some(({ unknown }) => unknown !== undefined))
    skip(body, 'it stands inside "for", and over what that goes is not known before', shell);
  else
    for (const { text } of items) {
      if (isTooMuch(shell)) return;
      shell.variables.set(name, text);
      run(body, shell);
    }
}

function runCase(branches: readonly Branch[], shell: Shell): void {
  for (const { patterns, body } of branches) {
    if (patterns.includes('start')) run(body, shell);
    else skip(body, `it stands in the branch "${patterns.join('|')})", only "start)" is followed`, shell);
  }
}

function skip(body: readonly Statement[], reason: string, shell: Shell): void {
  for (const statement of body) {
    if (isTooMuch(shell)) return;
    if (statement.kind === 'command') shell.visitor.skipped(expanded(statement.command, shell), reason);
    else if (statement.kind === 'case')
      for (const branch of statement.branches) skip(branch.body, reason, shell);
    else skip(statement.body, reason, shell);
  }
}

const declarations = new Set(['export', 'local', 'readonly', 'declare', 'typeset']);

/** Whether a command only sets variables, which it then has done. */
function assignments({ words }: ShellCommand, shell: Shell): boolean {
  const set = declarations.has(literal(words[0]) ?? '') ? words.slice(1) : words;
  const pairs = set.map((word) => {
    const first = word.pieces[0];
    const match =
      first?.kind === 'text' && !first.quoted ? /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(first.text) : null;
    if (!match) return undefined;
    const pieces = [{ kind: 'text' as const, text: match[2]!, quoted: true }, ...word.pieces.slice(1)];
    const [value] = expand({ ...word, pieces }, shell, false);
    return { name: match[1]!, value: value?.unknown === undefined ? (value?.text ?? '') : undefined };
  });
  if (set === words && pairs.some((pair) => pair === undefined)) return false;
  for (const pair of pairs) {
    const tooLong = (pair?.value?.length ?? 0) > longestVariable;
    if (pair) shell.variables.set(pair.name, tooLong ? undefined : pair.value);
  }
  return true;
}

/** The words a word becomes: several, or none, where a variable without quotes holds blanks or nothing. */
function expand(word: ShellWord, shell: Shell, split = true): Word[] {
  const { start, end, pieces } = word;
  const texts: string[] = [];
  let unknown: string | undefined;
  let open = false;
  const add = (text: string) => {
    if (open) texts[texts.length - 1] += text;
    else texts.push(text);
    open = true;
  };
  for (const piece of pieces) {
    const value = shell.cost > greatestCost ? '' : pieceValue(piece, shell);
    shell.cost += 1 + (value?.length ?? 0);
    if (value === undefined) {
      unknown ??= piece.kind === 'variable' ? `$${piece.name}` : piece.kind === 'unknown' ? piece.text : '';
      add('');
    } else if (piece.kind !== 'variable' || piece.quoted || !split) add(value);
    else {
      const parts = value.split(/[ \t\n]+/);
      for (const [i, part] of parts.entries()) {
        if (i > 0) open = false;
        if (part !== '') add(part);
      }
    }
  }
  return texts.map((text) => ({ text, start, end, ...(unknown !== undefined && { unknown }) }));
}

function pieceValue(piece: Piece, shell: Shell): string | undefined {
  if (piece.kind === 'text') return piece.text;
  return piece.kind === 'variable' ? variableValue(piece, shell) : undefined;
}

function variableValue(
  { name, otherwise }: { readonly name: string; readonly otherwise?: string },
  { variables, environment }: Shell,
): string | undefined {
  const own = variables.has(name) || !Object.hasOwn(environment, name);
  const value = own ? variables.get(name) : environment[name];
  return value === undefined || value === '' ? (otherwise ?? value) : value;
}
