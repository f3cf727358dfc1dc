import type { Command } from '../../config/ipvsadm/command.ts';
import { CommandFailure, exitStatus, tryHelp } from '../../config/ipvsadm/failure.ts';
import { decodeRules, ruleWords } from '../../config/ipvsadm/rule-words.ts';
import type { Names } from './names.ts';
import { parseCommand } from './parse-command.ts';

/**
 * Reads the rules of `-R`: one command line per line, with or without the program's name in front. Empty lines and
 * what follows a word starting with `#` are skipped. Everything is read before anything is returned: a line that is
 * not understood is a CommandFailure which names the line.
 */
export async function parseRules(program: string, text: string, names: Names): Promise<readonly Command[]> {
  const commands: Command[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const words = ruleWords(line);
    if (words.length === 0) continue;
    try {
      const command = await parseCommand(program, words, names);
      if (command.kind === 'restore') throw tryHelp(program);
      commands.push(command);
    } catch (error) {
      throw error instanceof CommandFailure ? lineFailure(index + 1, error) : error;
    }
  }
  return commands;
}

/** Rules as text: UTF-8, or Latin-1 where the bytes are not UTF-8. */
export async function readRules(input: AsyncIterable<Uint8Array | string>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of input) chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  return decodeRules(Buffer.concat(chunks));
}

function lineFailure(line: number, failure: CommandFailure): CommandFailure {
  const advice = `Nothing was changed: correct line ${line} and restore again.`;
  return new CommandFailure(exitStatus.badArguments, `line ${line}: ${failure.message}\n${advice}`);
}
