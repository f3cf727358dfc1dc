import type { Span } from '../../../model/problem.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import type { Statement } from './blocks.ts';
import { mapAt } from './scope.ts';
import { yesOrNo } from './values.ts';
import type { VrrpContext } from './vrrp-context.ts';
import { programOf, type Whom, whomNodes } from './whom.ts';

/** What an instance or a group says of the programs that are run for it. */
export type Programs = { readonly nodes: Record<string, TreeNode>; span?: Span; user?: Whom };

export const noPrograms = (): Programs => ({ nodes: {} });

const keys: Readonly<Record<string, string>> = {
  notify_master: 'master',
  notify_backup: 'backup',
  notify_fault: 'fault',
  notify_stop: 'stop',
  notify: 'change',
};

/** Takes a keyword about programs or mails of an instance or a group; false where it is another one. */
export function takeNotify(statement: Statement, programs: Programs, context: VrrpContext): boolean {
  const { keyword, span } = statement;
  const { notes, globals } = context;
  if (keyword === 'smtp_alert') {
    if (yesOrNo(statement, context)) globals.mail.vrrp = true;
    notes.kept(span, '"alerts.mail.on"');
    return true;
  }
  const key = Object.hasOwn(keys, keyword) ? keys[keyword] : undefined;
  if (key === undefined) return false;
  const { command, whom } = programOf(statement, context);
  if (!command) return true;
  notes.kept(span, `"notify.${key}"`);
  programs.nodes[key] = command;
  programs.span ??= span;
  if (!whom) return true;
  if (programs.user && programs.user.user.text !== whom.user.text)
    notes.changed(whom.user.span, `it runs as "${programs.user.user.text}", as those before`);
  programs.user ??= whom;
  return true;
}

/** The node `notify`; undefined where no program is named. */
export function notifyNode({ nodes, span, user }: Programs): MapNode | undefined {
  return span && mapAt(span, { ...nodes, ...whomNodes(user) });
}
