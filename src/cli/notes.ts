import type { Note } from '../config/adapters/adapter.ts';

/** A line for each line of the file that is changed or ignored: `FILE:LINE: KIND: REASON`. */
export function notesText(notes: readonly Note[]): string {
  return notes
    .filter(({ kind }) => kind !== 'kept')
    .map(({ file, line, kind, reason }) => `${file}:${line}: ${kind}: ${reason}\n`)
    .join('');
}
