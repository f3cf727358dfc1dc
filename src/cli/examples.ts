import { readFileSync } from 'node:fs';

/**
 * The examples of a command in docs/reference/cli.md, as one types them where Headgate is installed. `words` are those after
 * `headgate`; of a command with others below it, those its section begins with. None where the page did not come along.
 */
export function examplesOf(words: readonly string[]): readonly string[] {
  const section = commandsPage()
    .split(/^## /m)
    .find((text) => text.startsWith(`${words[0]}\n`));
  const blocks = [...(section ?? '').matchAll(/(?:^ {4}.*\bnpx headgate .*\n)+/gm)].map(([block]) => block);
  const lines = (words.length === 1 ? blocks.slice(0, 1) : blocks)
    .flatMap((block) => block.trimEnd().split('\n'))
    .map((line) => line.trim().replaceAll('npx headgate', 'headgate'));
  return lines.filter((line) => `${line} `.includes(`headgate ${words.join(' ')} `));
}

/** What stands below the options in a command's help. */
export function examplesText(words: readonly string[]): string {
  const examples = words.length === 0 ? [] : examplesOf(words);
  return examples.length === 0 ? '' : `\nExamples:\n${examples.map((line) => `  ${line}`).join('\n')}`;
}

function commandsPage(): string {
  try {
    return readFileSync(new URL('../../docs/reference/cli.md', import.meta.url), 'utf8');
  } catch {
    return '';
  }
}
