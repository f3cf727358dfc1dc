import type { CommandNode } from '../command-tree.ts';
import { bashCompletion } from './bash.ts';
import { fishCompletion } from './fish.ts';
import { zshCompletion } from './zsh.ts';

/** The completion of a shell, as a script it reads. */
export function completionScript(shell: 'bash' | 'zsh' | 'fish', program: CommandNode): string {
  return { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }[shell](program);
}
