import type { TreeNode } from '../../tree.ts';
import type { Statement } from './blocks.ts';
import { commandOf, type Scope, scalarAt } from './scope.ts';
import { escapedWords, type Word } from './words.ts';

/** Whom a program runs as. */
export type Whom = { readonly user: Word; readonly group?: Word };

/** `COMMAND [USER [[:]GROUP]]` behind a keyword. */
export function programOf(
  statement: Statement,
  scope: Scope,
): { readonly command: TreeNode | undefined; readonly whom?: Whom } {
  const command = commandOf(statement, scope, { takesUser: true });
  const [, , user, group] = escapedWords(statement.line) ?? [];
  if (!user) return { command };
  const [name, joined] = user.text.split(':');
  const second = joined
    ? { ...user, text: joined }
    : group && { ...group, text: group.text.replace(/^:/, '') };
  return { command, whom: { user: { ...user, text: name! }, ...(second && { group: second }) } };
}

/** Keys `user` and `group`. */
export const whomNodes = (whom: Whom | undefined): Record<string, TreeNode | undefined> => ({
  user: whom && scalarAt(whom.user.span, whom.user.text),
  group: whom?.group && scalarAt(whom.group.span, whom.group.text),
});
