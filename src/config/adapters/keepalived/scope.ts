import type { Problem } from '../../../model/errors.ts';
import { problemAt, type Span } from '../../../model/problem.ts';
import type { KnownNames } from '../../ipvsadm/names.ts';
import type { TreeNode } from '../../tree.ts';
import { listAt, mapAt, scalarAt } from '../build-tree.ts';
import type { Statement } from './blocks.ts';
import type { Notes } from './notes.ts';
import { escapedWords, type Word, wordsOf } from './words.ts';

/** What the parts of a file share while it is mapped. */
export type Scope = {
  readonly notes: Notes;
  readonly problems: Problem[];
  readonly names: KnownNames;
  /** Commands keepalived would run, with the place that says so. */
  readonly commands: { readonly program: string; readonly span: Span }[];
};

/** The words of a list as a node; undefined where there are none. */
export function wordList(words: readonly (Word | string)[], span: Span): TreeNode | undefined {
  if (words.length === 0) return undefined;
  return listAt(
    span,
    words.map((word) => (typeof word === 'string' ? scalarAt(span, word) : scalarAt(word.span, word.text))),
  );
}

/**
 * The command behind a keyword: one word, quoted where there are blanks in it, that is taken apart again. Whom it is to run as
 * may follow.
 */
export function commandOf(
  statement: Statement,
  scope: Scope,
  { takesUser = false }: { readonly takesUser?: boolean } = {},
): TreeNode | undefined {
  const words = escapedWords(statement.line);
  const [, command, user] = words ?? [];
  if (!command) {
    const why = words ? 'no command follows' : 'a quote or an escape is not closed';
    scope.notes.wrong('ignored', statement.span, `"${statement.keyword}": ${why}`);
    return undefined;
  }
  const parts = escapedWords({ text: command.text, span: command.span, exact: false });
  if (!parts || parts.length === 0) {
    scope.notes.wrong('ignored', statement.span, `"${statement.keyword}": no command can be read in it`);
    return undefined;
  }
  if (user && !takesUser)
    scope.notes.changed(user.span, `it runs as the user of the daemon, not as "${user.text}"`);
  scope.commands.push({ program: parts[0]!.text, span: statement.span });
  const texts = parts.map(({ text }) => text);
  // What is no name of a program is what a shell would understand, and keepalived gives it to one.
  if (/^[\w./-]/.test(texts[0]!)) return wordList(texts, command.span);
  scope.notes.changed(command.span, 'a shell runs it');
  return wordList(['/bin/sh', '-c', command.text], command.span);
}

/** What stands behind a keyword, as one text. */
export function restOf(statement: Statement): string {
  return wordsOf(statement.line)
    .words.slice(1)
    .map(({ text }) => text)
    .join(' ');
}

/** Notes what stands in a block that is ignored. */
export function ignoreAll(statements: readonly Statement[], reason: string, scope: Scope): void {
  for (const { span, statements: inner, values } of statements) {
    scope.notes.ignored(span, reason);
    ignoreAll(inner, reason, scope);
    for (const value of values) scope.notes.ignored(value.span, reason);
  }
}

/** A mistake for which keepalived would not run, or that no configuration can say at all. */
export function refuse(scope: Scope, span: Span, message: string, hint?: string): void {
  scope.problems.push(problemAt(span, 'HG_CONFIG_RULE', message, hint));
}

export { listAt, mapAt, scalarAt };
