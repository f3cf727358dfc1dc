/** Entity tags (RFC 9110, section 8.8.3), of which only strong ones are given out. */

/** The header's value for a tag. */
export const quoted = (tag: string): string => `"${tag}"`;

/**
 * Whether a list of tags as `If-Match` has it names this one, by strong comparison (RFC 9110, 8.8.3.2): a weak one names
 * nothing. "*" names all there is.
 */
export function namesTag(header: string, tag: string): boolean {
  return namesIn(header).some((name) => name === '*' || name === quoted(tag));
}

/** The same for `If-None-Match`, by weak comparison. */
export function namesTagWeakly(header: string, tag: string): boolean {
  return namesIn(header).some((name) => name === '*' || name.replace(/^W\//, '') === quoted(tag));
}

const namesIn = (header: string): string[] => header.match(/\*|(?:W\/)?"[^"]*"/g) ?? [];
