import { dirname, isAbsolute, join } from 'node:path';
import type { Files } from '../../files.ts';
import type { ListNode } from '../../tree.ts';
import type { Tell } from '../adapter.ts';
import { listAt, scalarAt } from '../build-tree.ts';
import type { Settings } from './directives.ts';

/** Where ldirectord looks for a file by its name, before it takes the name for a path. */
const folders = ['/etc/ha.d', '/etc/ha.d/conf'];

/** The files that `execute` names, for each of which ldirectord starts another one: the key `include`. */
export function includeNode(
  { executes }: Settings,
  file: string,
  files: Files,
  tell: Tell,
): ListNode | undefined {
  const found = new Map<string, ReturnType<typeof scalarAt>>();
  for (const { text, line } of executes) {
    const path = pathOf(text, file, files);
    if (path === undefined) tell('ignored', line.span, 'there is no such file');
    else if (/[*?]/.test(path)) tell('ignored', line.span, 'files are included by names without "*" and "?"');
    else {
      tell('kept', line.span, `"${path}" is included`);
      found.set(path, scalarAt(line.value?.span ?? line.span, path));
    }
  }
  const [first] = executes;
  return first && found.size > 0 ? listAt(first.line.span, [...found.values()]) : undefined;
}

function pathOf(name: string, file: string, files: Files): string | undefined {
  if (name === '') return undefined;
  const places = isAbsolute(name) ? [] : folders.map((folder) => join(folder, name));
  const known = places.find((path) => isThere(path, files));
  if (known !== undefined) return known;
  return isThere(isAbsolute(name) ? name : join(dirname(file), name), files) ? name : undefined;
}

function isThere(path: string, files: Files): boolean {
  try {
    files.read(path);
    return true;
  } catch {
    return false;
  }
}
