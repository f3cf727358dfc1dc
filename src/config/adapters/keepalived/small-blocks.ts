import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { Certificates, TrackFile } from './checker-context.ts';
import { cleanName } from './names.ts';
import { mapAt, type Scope } from './scope.ts';
import { firstWord, noteRest, numberIn } from './values.ts';
import type { TrackedThing } from './vrrp-things.ts';

/** Reads a block `SSL`: the certificate checks show. */
export function readCertificates(statement: Statement, certificates: Certificates, scope: Scope): void {
  const { notes } = scope;
  notes.kept(statement.span, 'the certificate that checks show');
  for (const inner of statement.statements) {
    const word = firstWord(inner, 'a word', scope);
    noteRest(inner, 1, scope);
    if (inner.keyword === 'ca')
      notes.ignored(inner.span, 'certificates of real servers are not judged, as in keepalived');
    else if (word) {
      certificates[inner.keyword as keyof Certificates] = word.text;
      notes.kept(
        inner.span,
        `"${inner.keyword === 'certificate' ? 'certificate' : 'privateKey'}" of the check`,
      );
    }
  }
}

/** Reads a block `track_file`. */
export function readTrackFile(
  statement: Statement,
  files: Map<string, TrackFile>,
  numbers: Map<string, TrackedThing>,
  scope: Scope,
): void {
  const { notes } = scope;
  const name = firstWord(statement, 'a name', scope);
  if (!name) return;
  let path: string | undefined;
  let weight = 1;
  let reverse = false;
  notes.kept(statement.span, 'a file that is looked at');
  for (const inner of statement.statements) {
    const [word, direction] = inner.words;
    if (inner.keyword === 'init_file') notes.ignored(inner.span, 'no file is written');
    else if (!word) firstWord(inner, inner.keyword === 'file' ? 'a path' : 'a number', scope);
    else if (inner.keyword === 'file') path = word.text;
    else {
      weight = numberIn(word, [-65_535, 65_535], scope) ?? weight;
      reverse = direction?.text === 'reverse';
    }
    if (inner.keyword !== 'init_file')
      notes.kept(inner.span, 'of checks of type file, and of what is tracked');
  }
  if (path === undefined)
    notes.wrong('ignored', statement.span, `track_file "${shown(name.text)}" names no file`);
  else {
    files.set(name.text, { path, weight: reverse ? -weight : weight });
    const cleaned = cleanName(name.text);
    const bounded = Math.min(254, Math.max(-254, weight));
    const node = mapAt(statement.span, { name: cleaned, path });
    const { span } = statement;
    numbers.set(name.text, { ...{ name: cleaned, weight: bounded, reverse, span, node }, tracked: false });
  }
}
