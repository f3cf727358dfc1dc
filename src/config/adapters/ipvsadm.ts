import type { Problem } from '../../model/errors.ts';
import { problemAt, type Source, type Span } from '../../model/problem.ts';
import { suggest } from '../../model/suggest.ts';
import { schedulerNames } from '../../model/virtual-service.ts';
import type { Command, SyncDaemon } from '../ipvsadm/command.ts';
import { CommandFailure } from '../ipvsadm/failure.ts';
import { parseCommand } from '../ipvsadm/grammar.ts';
import { optionTable } from '../ipvsadm/options.ts';
import { isProgramName, ruleWords } from '../ipvsadm/rule-words.ts';
import { type Adapted, type Adapter, type AdapterContext, type NoteKind, noteBook } from './adapter.ts';
import { differencesOf } from './ipvsadm-differences.ts';
import { type RuleTable, ruleTable } from './ipvsadm-table.ts';
import { configurationTree, type RuleSettings } from './ipvsadm-tree.ts';
import { nameOfService } from './service-names.ts';
import { followShell, type Run, type Word } from './shell.ts';
import { readShell } from './shell-words.ts';

/**
 * Rules of ipvsadm: what ipvsadm-save prints, with or without -n, and what people write, one command a line with or
 * without the program's name, shell scripts included. Rules act in order, as ipvsadm -R lets them; those it would refuse
 * are refused.
 */
export const ipvsadmAdapter: Adapter = { name: 'ipvsadm', title: 'rules of ipvsadm', detects, read };

const commandOption =
  /^-(?:[AEDadeC]|-(?:add|edit|delete)-(?:service|server)|-clear|-set|-restore|-start-daemon|-stop-daemon)$/;
const prefixes = new Set(['sudo', 'exec', 'then', 'do']);
/** What programs are often called in scripts: `$IPVSADM`. */
const variable = /^"?\$\{?\w+\}?"?$/;
const nameOfRules = /(?:^|\/)ipvsadm(?:\.rules|\.saved?)?$|\.ipvs$/;
const longestLine = 4096;

function detects(text: string, fileName: string): boolean {
  if (text.includes('\0')) return false;
  let empty = true;
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\n', start) < 0 ? text.length : text.indexOf('\n', start);
    const line = text.slice(start, Math.min(end, start + longestLine));
    if (line.split(/[;&|()]|\{(?=\s)/).some(isRule)) return true;
    empty &&= ruleWords(line).length === 0;
    start = end + 1;
  }
  return empty && nameOfRules.test(fileName);
}

function isRule(line: string): boolean {
  const [first = '', second = '', third = ''] = ruleWords(line);
  if (commandOption.test(first)) return true;
  if (prefixes.has(first) || variable.test(first))
    return commandOption.test(second) || (second.endsWith('/ipvsadm') && commandOption.test(third));
  return false;
}

function read(source: Source, { names, environment }: AdapterContext): Adapted {
  const whole: Span = { source, start: 0, end: source.text.length };
  const book = noteBook(source);
  const problems: Problem[] = [];
  const state: State = {
    table: ruleTable(),
    settings: { timeouts: {} },
    tell: (kind, span, reason) => book.note(kind, span, reason),
    source,
    names,
  };
  const { commands, header, complete } = readShell(source.text);
  const followed = followShell(complete ? commands : [], environment, {
    command: (run) => {
      const found = readRun(run, state);
      if ('code' in found) problems.push(found);
      else state.tell(found.kind, spanOf(source, run), found.reason);
    },
    assignment: (at) => state.tell('kept', spanOf(source, at), 'a variable'),
    skipped: (run, reason) => {
      const span = spanOf(source, run);
      state.tell('ignored', span, ruleOf(run.words) ? reason : notARule(run.words));
    },
  });
  if (!complete || !followed) {
    const message = 'rules: more than can be followed';
    problems.push(
      problemAt({ ...whole, end: 1 }, 'HG_CONFIG_SIZE', message, 'import the output of "ipvsadm-save -n"'),
    );
  }
  const { root, comments } = configurationTree(state.table, state.settings, whole, state.tell);
  if (header.length > 0) comments.set(root, header);
  return { root, comments, notes: book.notes(), problems };
}

type State = {
  readonly table: RuleTable;
  readonly settings: RuleSettings;
  readonly tell: (kind: NoteKind, span: Span, reason: string) => void;
  readonly source: Source;
  readonly names: AdapterContext['names'];
};

const spanOf = (source: Source, { start, end }: { start: number; end: number }): Span => ({
  source,
  start,
  end,
});

/** The words of a rule without the program's name; undefined for what is none. */
function ruleOf(words: readonly Word[]): readonly Word[] | undefined {
  const first = words[0]?.text ?? '';
  if (!/^-./.test(first) && first !== 'ipvsadm' && !first.endsWith('/ipvsadm')) return undefined;
  return words.filter(({ text }, index) => !isProgramName(text, index));
}

function notARule([first]: readonly Word[]): string {
  const name = first?.text.split('/').at(-1) ?? '';
  if (name === 'ipvsadm-restore') return 'it loads rules of another file: import that file';
  if (name === 'ipvsadm-save') return 'it saves rules: nothing is set by it';
  const shown = name.length > 30 ? `${name.slice(0, 27)}...` : name;
  return `"${shown}" is no command of ipvsadm`;
}

type Verdict = { readonly kind: NoteKind; readonly reason: string };

const verdict = (kind: NoteKind, reason: string): Verdict => ({ kind, reason });

/** What becomes of a command that runs: its note, or the mistake in it. */
function readRun(run: Run, state: State): Verdict | Problem {
  const { source, tell } = state;
  const span = spanOf(source, run);
  const words = ruleOf(run.words);
  if (!words) return verdict('ignored', notARule(run.words));
  if (words.length === 0) return verdict('ignored', 'it lists: nothing is set by it');
  const unknown = words.find((word) => word.unknown !== undefined);
  if (unknown) return unknownWord(unknown, source);
  const texts = words.map(({ text }) => text);
  let command: Command;
  try {
    command = parseCommand('ipvsadm', texts, state.names);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    return mistake(error, words, span);
  }
  for (const reason of differencesOf(texts, command)) tell('changed', span, reason);
  return perform(command, span, run.comments, state);
}

function perform(command: Command, span: Span, comments: readonly string[], state: State): Verdict {
  const { table, settings } = state;
  if (command.kind === 'start-daemon') return startDaemon(command.daemon, span, state);
  if (command.kind === 'stop-daemon') {
    const { role } = settings.sync?.daemon ?? {};
    if (role !== command.role) return verdict('ignored', `no ${command.role} was started before`);
    delete settings.sync;
    return verdict('kept', 'connection sync');
  }
  if (command.kind === 'restore') return verdict('ignored', 'it loads other rules: import those');
  if (command.kind !== 'change') return verdict('ignored', 'it shows something: nothing is set by it');
  const { operation } = command;
  if (operation.kind === 'zero') return verdict('ignored', 'counters are no configuration');
  if (operation.kind === 'flush' && table.services.size === 0)
    return verdict('changed', '"own: true" would delete what is not described here');
  const refusal = table.apply(operation, { span, comments });
  if (refusal !== undefined) return verdict('ignored', `ipvsadm refuses it: ${refusal}`);
  if (operation.kind === 'set-timeouts')
    for (const [key, seconds] of Object.entries(operation.timeouts))
      settings.timeouts[key as keyof typeof settings.timeouts] = { seconds, span };
  const id = 'service' in operation ? operation.service.id : 'id' in operation ? operation.id : undefined;
  return verdict('kept', id ? `virtual service "${nameOfService(id)}"` : operation.kind);
}

/** A director has one connection sync, which may be master and backup at once. */
function startDaemon(daemon: SyncDaemon, span: Span, { settings }: State): Verdict {
  const before = settings.sync?.daemon;
  if (!before) {
    settings.sync = { daemon, span };
    return verdict('kept', 'connection sync');
  }
  if (before.role === daemon.role || before.role === 'both')
    return verdict('ignored', `ipvsadm refuses it: a ${daemon.role} runs already`);
  settings.sync = { daemon: { ...before, role: 'both' }, span };
  const same = JSON.stringify({ ...before, role: '' }) === JSON.stringify({ ...daemon, role: '' });
  if (same) return verdict('kept', 'connection sync');
  return verdict('changed', 'master and backup have one interface and one setting, those given first');
}

function unknownWord(word: Word, source: Source): Problem {
  const { unknown = '' } = word;
  const variable = unknown.startsWith('$') && /^\$[A-Za-z_]\w*$/.test(unknown);
  const message = variable
    ? `variable "${unknown.slice(1)}": wanted a value set in this file or the environment, found none`
    : `value: wanted one that stands in the file, found "${unknown}"`;
  const hint = 'write the value; or run the script and import what "ipvsadm-save -n" prints';
  return problemAt(spanOf(source, word), 'HG_CONFIG_RULE', message, hint);
}

/** A failure of the grammar as a problem at its word. */
function mistake(failure: CommandFailure, words: readonly Word[], rule: Span): Problem {
  const { word: index, wanted, found } = failure.detail;
  const word = index === undefined ? undefined : words[index];
  const span = word ? spanOf(rule.source, word) : rule;
  const option = index === undefined ? undefined : optionAt(words, index);
  const subject = option === undefined ? 'rule' : `"${option}"`;
  const message =
    wanted === undefined
      ? `rule: ${lowered(failure.message)}`
      : `${subject}: wanted ${wanted}, found "${found ?? ''}"`;
  return problemAt(span, 'HG_CONFIG_RULE', message, hintFor(words, index, found));
}

/** The option a word is the argument of. */
function optionAt(words: readonly Word[], index: number): string | undefined {
  const here = words[index]?.text ?? '';
  if (/^-./.test(here)) return here.startsWith('--') ? here.replace(/=.*$/s, '') : here.slice(0, 2);
  const before = words[index - 1]?.text ?? '';
  return /^-./.test(before) ? before : undefined;
}

const longOptions = optionTable.map(({ long }) => `--${long}`);

function hintFor(
  words: readonly Word[],
  index: number | undefined,
  found: string | undefined,
): string | undefined {
  if (index === undefined) return undefined;
  const text = words[index]?.text ?? '';
  const next = words[index + 1]?.text ?? '';
  if (text === '-' && schedulerNames.some((name) => name === next)) return `did you mean "-s ${next}"?`;
  const near = text.startsWith('--') ? suggest(text, longOptions) : undefined;
  if (near !== undefined && near !== text) return `did you mean "${near}"?`;
  const host = /^([A-Za-z][\w.-]*)(?::.*)?$/.exec(found ?? '');
  const option = words[index - 1]?.text;
  if (host && option !== undefined && ['-t', '-u', '-r', '--sctp-service'].includes(option))
    return `write the address instead of "${host[1]}", or give that name an address in /etc/hosts`;
  return undefined;
}

function lowered(message: string): string {
  const [first = ''] = message.split('\n');
  return first.charAt(0).toLowerCase() + first.slice(1);
}
