import type { Source, Span } from '../../../model/problem.ts';
import { type Note, type NoteKind, noteBook } from '../adapter.ts';

/** What became of lines, of several files. */
export type Notes = {
  kept(span: Span, reason: string): void;
  changed(span: Span, reason: string): void;
  ignored(span: Span, reason: string): void;
  /** As above, of a line that keepalived complains of as well. */
  wrong(kind: 'changed' | 'ignored', span: Span, reason: string): void;
  /** Those of each file in the order of lines, the first file first. */
  all(): Note[];
};

/** A note book for every file that says something; `first` comes first. */
export function notesOf(first: Source): Notes {
  const books = new Map<Source, ReturnType<typeof noteBook>>([[first, noteBook(first)]]);
  const note = (kind: NoteKind, span: Span, reason: string, mistake: boolean) => {
    const book = books.get(span.source) ?? noteBook(span.source);
    books.set(span.source, book);
    book.note(kind, span, reason, mistake);
  };
  return {
    kept: (span, reason) => note('kept', span, reason, false),
    changed: (span, reason) => note('changed', span, reason, false),
    ignored: (span, reason) => note('ignored', span, reason, false),
    wrong: (kind, span, reason) => note(kind, span, reason, true),
    all: () => [...books.values()].flatMap((book) => book.notes()),
  };
}
