import type { Command } from './command.ts';
import { parseCommand } from './grammar.ts';
import { CommandFailure, exitStatus, tryHelp } from './messages.ts';
import type { Names } from './names.ts';

/** Blanks in rules files: also no-break spaces, which come with lines pasted from web pages, and byte order marks. */
const blanks = /[ \t\r\f\v\u00a0\ufeff]+/;

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

/** The words of one line of rules. */
export function ruleWords(line: string): string[] {
  const words = line.split(blanks).filter((word) => word !== '');
  const comment = words.findIndex((word) => word.startsWith('#'));
  if (comment >= 0) words.length = comment;
  if (words[0]?.endsWith('/ipvsadm')) words.shift();
  return words.filter((word) => word !== 'ipvsadm');
}

/** Rules as text: UTF-8, or Latin-1 where the bytes are not UTF-8. */
export async function readRules(input: AsyncIterable<Uint8Array | string>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of input) chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
  const bytes = Buffer.concat(chunks);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}

function lineFailure(line: number, failure: CommandFailure): CommandFailure {
  const advice = `Nothing was changed: correct line ${line} and restore again.`;
  return new CommandFailure(exitStatus.badArguments, `line ${line}: ${failure.message}\n${advice}`);
}
