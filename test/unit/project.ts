import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, with a slash at the end. */
export const projectRoot = fileURLToPath(new URL('../../', import.meta.url));

/** A file of the project: path from its root, and text. */
export type ProjectFile = { readonly path: string; readonly text: string };

const notOurs = new Set(['node_modules', 'dist', '.git', '.cache']);

/** Every file under `folder` (from the root) whose name ends in one of `endings`, sorted by path. */
export function projectFiles(folder: string, endings: readonly string[]): readonly ProjectFile[] {
  return walk(join(projectRoot, folder))
    .filter((path) => endings.some((ending) => path.endsWith(ending)))
    .map((path) => ({ path: relative(projectRoot, path), text: readFileSync(path, 'utf8') }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The text of one file of the project. */
export function projectText(path: string): string {
  return readFileSync(join(projectRoot, path), 'utf8');
}

function walk(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return notOurs.has(entry.name) ? [] : walk(path);
    return entry.isFile() ? [path] : [];
  });
}

/**
 * TypeScript without its comments, line by line in place. Good enough for code formatted by this project's formatter:
 * it knows strings and template literals, not regular expressions that hold a quote or a comment.
 */
export function withoutComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return text.replace(token, (match) =>
    match.startsWith('//') || match.startsWith('/*') ? match.replaceAll(/[^\n]/g, ' ') : match,
  );
}
