import { type MatchOptions, matches } from './pattern.ts';
import { shownText } from './shown-text.ts';

/** What is wanted of a text that came. */
export type Content = {
  readonly contains?: string | undefined;
  readonly matches?: string | undefined;
  readonly notMatches?: string | undefined;
  readonly matchOptions: MatchOptions;
};

/** Whether anything is wanted at all. */
export function wantsContent(content: Content): boolean {
  return content.contains !== undefined || content.matches !== undefined || content.notMatches !== undefined;
}

/**
 * What is not as wanted in `bytes`, read as UTF-8; undefined where all is. `what` names them (`body`); a text that was
 * not read to its end says so.
 */
export function contentProblem(
  content: Content,
  bytes: Buffer,
  what: string,
  isWhole = true,
): string | undefined {
  if (!wantsContent(content)) return undefined;
  const part = isWhole ? what : `first ${bytes.length} bytes of the ${what}`;
  const got = bytes.length === 0 ? 'got nothing' : `got "${shownText(bytes)}"`;
  if (content.contains !== undefined && !bytes.includes(content.contains)) {
    return `${part} without "${shownText(content.contains)}": ${got}`;
  }
  const text = bytes.toString();
  if (content.matches !== undefined && !matches(content.matches, content.matchOptions, text)) {
    return `${part} does not match /${content.matches}/: ${got}`;
  }
  if (content.notMatches !== undefined && matches(content.notMatches, content.matchOptions, text)) {
    return `${part} matches /${content.notMatches}/: ${got}`;
  }
  return undefined;
}
