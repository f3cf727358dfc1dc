import type { Path } from './tree.ts';

/** A part of a configuration and where it stands. */
export type Entry<Value> = { readonly value: Value; readonly path: Path };

/** Reports values that do not go together: the one to point at, what is wrong, and the next step where it is a special one. */
export type Report = (path: Path, message: string, hint?: string) => void;
