import type { Files } from '../../files.ts';

/** Patterns that braces stand for, and files a pattern may name; far more than are meant. */
const most = 1000;

/** What came of a pattern. */
export type Matches = {
  /** The files, sorted within each pattern that braces stand for. */
  readonly files: readonly string[];
  /** Whether the pattern has wildcards. */
  readonly wild: boolean;
  /** Of the patterns that braces stand for, those without a file. */
  readonly missing: readonly string[];
};

/**
 * The files a pattern names, as glob(3) with GLOB_BRACE does: `*`, `?`, `[a-z]` within a name, but not for a dot at its start;
 * `{a,b}` for one or the other. Undefined where it stands for too much.
 */
export function matchFiles(pattern: string, files: Files): Matches | undefined {
  const patterns = withoutBraces(pattern);
  if (!patterns) return undefined;
  const found: string[] = [];
  const missing: string[] = [];
  for (const one of patterns) {
    const matches = matchOne(one, files);
    if (matches.length === 0) missing.push(one);
    found.push(...matches);
    if (found.length > most) return undefined;
  }
  return { files: found, wild: isWild(pattern), missing };
}

const isWild = (text: string): boolean => /[*?[]/.test(text);

function withoutBraces(pattern: string): readonly string[] | undefined {
  let patterns = [pattern];
  for (let again = true; again; ) {
    again = false;
    patterns = patterns.flatMap((one) => {
      // Innermost braces first: there are none in them.
      const match = /\{([^{}]*,[^{}]*)\}/.exec(one);
      if (!match) return [one];
      again = true;
      const end = match.index + match[0].length;
      return match[1]!.split(',').map((choice) => one.slice(0, match.index) + choice + one.slice(end));
    });
    if (patterns.length > most) return undefined;
  }
  return patterns;
}

function matchOne(pattern: string, files: Files): readonly string[] {
  const [first = '', ...rest] = pattern.split('/');
  let found = isWild(first) ? matching('', first, files) : [first];
  for (const [i, part] of rest.entries()) {
    found = found.flatMap((folder) =>
      isWild(part) ? matching(`${folder}/`, part, files) : [`${folder}/${part}`],
    );
    if (found.length > most) return found;
    // A name without wildcards is there or not; of folders this shows with what is in them.
    if (i === rest.length - 1 && !isWild(part)) found = found.filter((path) => isThere(path, files));
  }
  return rest.length === 0 && !isWild(first) ? found.filter((path) => isThere(path, files)) : found;
}

/** Whether a file is there. */
export function isThere(path: string, files: Files): boolean {
  const slash = path.lastIndexOf('/');
  const folder = slash < 0 ? '.' : slash === 0 ? '/' : path.slice(0, slash);
  return files.list(folder).includes(path.slice(slash + 1));
}

function matching(folder: string, part: string, files: Files): string[] {
  const form = part
    .replaceAll(/[\\^$.|+(){}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replaceAll('[!', '[^');
  let expression: RegExp;
  try {
    expression = new RegExp(`^${part.startsWith('.') ? '' : '(?!\\.)'}${form}$`, 's');
  } catch {
    return [];
  }
  return files
    .list(folder === '' ? '.' : folder)
    .filter((name) => expression.test(name))
    .sort()
    .map((name) => `${folder}${name}`);
}
