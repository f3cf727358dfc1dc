/** What a text must be like, in words of a check: it contains something, or it matches an expression. */
export type Expectation =
  | { readonly contains: string }
  | { readonly matches: string; readonly options: readonly MatchOption[] };

type MatchOption = 'ignoreCase' | 'multiline' | 'dotAll';

const optionOf: Readonly<Record<string, MatchOption>> = { i: 'ignoreCase', m: 'multiline', s: 'dotAll' };

/** What JavaScript reads otherwise than Perl, or not at all: perlre(1). */
const perlOnly = new RegExp(
  [
    String.raw`\\[GKXRhHVNQELUPZzAg]`,
    String.raw`\\[xok]\{`,
    String.raw`\[\[:\w+:\]`,
    String.raw`\(\?(?:[#>|&RP+\d^a-z]|-[a-z\d])`,
    String.raw`[*+?}]\+`,
    String.raw`\(\*`,
  ].join('|'),
);

/**
 * A regular expression of Perl as a check takes it: JavaScript's, its flags are options. Undefined where JavaScript cannot say
 * the same.
 */
export function expectationOf(perl: string): Expectation | undefined {
  if (!/[\\^$.|?*+()[\]{}]/.test(perl)) return { contains: perl };
  // Anchors where nearly everybody has them. At the end `$` also stands in front of a last line feed.
  const ended = perl
    .replace(/^(\(\?[ims]+\))?\\A/, '$1^')
    .replace(/(?<!\\)((?:\\\\)*)(?:\$|\\Z)$/, '$1\\n?$$')
    .replace(/(?<!\\)((?:\\\\)*)\\z$/, '$1$$');
  const [, letters = '', source = ''] = /^(?:\(\?([ims]+)\))?(.*)$/s.exec(ended)!;
  if (perlOnly.test(source)) return undefined;
  try {
    new RegExp(source);
    return { matches: source, options: [...new Set(letters)].map((letter) => optionOf[letter]!) };
  } catch {
    return undefined;
  }
}
