import type { Problem } from '../../model/errors.ts';
import { lineOf, type Source, type Span } from '../../model/problem.ts';
import type { Files } from '../files.ts';
import type { KnownNames } from '../ipvsadm/names.ts';
import type { MapNode, TreeNode } from '../tree.ts';
import type { Environment } from '../variables.ts';

/**
 * What became of a line of an old file. `kept`: the configuration says the same. `changed`: it says it otherwise, or
 * nothing needs to be said. `ignored`: it does not say it.
 */
export type NoteKind = 'kept' | 'changed' | 'ignored';

/** What became of a line, and why. */
export type Note = {
  readonly kind: NoteKind;
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly reason: string;
  /** Whether the program the file is written for complains of the line as well. */
  readonly mistake?: true;
};

/** What an old file says in the words of headgate.yaml. */
export type Adapted = {
  /** headgate.yaml as a tree; the span of each value is the place in the old file that says it. */
  readonly root: MapNode;
  /** Comments of the old file, by what they stand before; those of `root` are about the file. */
  readonly comments: ReadonlyMap<TreeNode, readonly string[]>;
  /** One for each line that says something, in the order of lines. */
  readonly notes: readonly Note[];
  /** Lines without a meaning: where there is one, the rest is not to be used. */
  readonly problems: readonly Problem[];
  /** The files that were read besides. */
  readonly files?: readonly string[];
  /** The exit codes of the program’s own test of such a file, where it has some; `validate` ends with them. */
  readonly testCodes?: TestCodes;
};

/** What another program’s test of a file ends with. */
export type TestCodes = {
  /** Where the file can be used, with all that is to be said of it. */
  readonly usable: number;
  readonly unusable: number;
};

/** What old files may refer to outside of themselves. */
export type AdapterContext = {
  readonly names: KnownNames;
  readonly environment: Environment;
  readonly files: Files;
  /** The name of this host. */
  readonly hostName: string;
  /** Whether the file is included by another one, whose services it must not speak of. */
  readonly isPart?: boolean;
};

/** Reads the files of another program. */
export type Adapter = {
  /** What `--from` takes. */
  readonly name: string;
  /** What its files are, for messages: `rules of ipvsadm`. */
  readonly title: string;
  /** Whether a text is such a file. Sure of itself: other formats are not asked any more. */
  detects(text: string, fileName: string): boolean;
  /** Throws nothing; the same text gives the same answer. */
  read(source: Source, context: AdapterContext): Adapted;
};

/** Says what became of a line. */
export type Tell = (kind: NoteKind, span: Span, reason: string) => void;

/** Collects notes: one a line, of the gravest kind that was noted for it, with all reasons of that kind. */
export function noteBook(source: Source): {
  note(kind: NoteKind, span: Span, reason: string, mistake?: boolean): void;
  notes(): Note[];
} {
  const lines = new Map<number, { kind: NoteKind; reasons: Set<string>; mistake: boolean }>();
  return {
    note: (kind, span, reason, mistake = false) => {
      const line = lineOf(source, span.start) + 1;
      const before = lines.get(line);
      if (!before || gravity[kind] > gravity[before.kind])
        lines.set(line, { kind, reasons: new Set([reason]), mistake: mistake || before?.mistake === true });
      else {
        if (before.kind === kind) before.reasons.add(reason);
        before.mistake ||= mistake;
      }
    },
    notes: () =>
      [...lines]
        .sort(([a], [b]) => a - b)
        .map(([line, { kind, reasons, mistake }]) => ({
          kind,
          file: source.name,
          line,
          reason: [...reasons].slice(0, mostReasons).join('; '),
          ...(mistake && { mistake }),
        })),
  };
}

const gravity = { kept: 0, changed: 1, ignored: 2 } as const;

const mostReasons = 5;
