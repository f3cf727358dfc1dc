import { type Loaded, loadConfiguration } from '../config/load.ts';
import { countMistakes, problemJson, problemsText } from '../model/problem.ts';
import type { Streams } from './context.ts';
import { notesText } from './notes.ts';
import { type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';

/**
 * `validate FILE...`. Exit code 1 when a file has a mistake. For a keepalived.conf the codes of `keepalived --config-test`:
 * 3 for a file it would not run with, 4 for one with mistakes it passes over, 5 for programs it would run without
 * enable_script_security. The greatest of several files counts.
 */
export async function validate(
  files: readonly string[],
  options: { readonly output: Output },
  streams: Streams,
): Promise<number> {
  const results = files.map((file) => ({ file, ...loadConfiguration(file) }));
  await write(
    streams,
    options.output,
    { valid: results.every(isSound), files: results.map(resultJson) },
    () => results.map(resultText).join(''),
  );
  if (options.output === 'text')
    streams.stderr.write(results.map(({ warnings }) => notesText(warnings)).join(''));
  return Math.max(...results.map(exitCodeOf));
}

function exitCodeOf(result: Result): number {
  const { usable, unusable } = result.testCodes ?? { usable: exitCodes.done, unusable: exitCodes.failed };
  return isSound(result) ? usable : unusable;
}

type Result = Loaded & { readonly file: string };

const isSound = ({ problems }: Result): boolean => problems.length === 0;

function counts({ configuration }: Result): { virtualServices: number; realServers: number } | undefined {
  const services = configuration?.virtualServices;
  return (
    services && {
      virtualServices: services.length,
      realServers: services.reduce((sum, { realServers }) => sum + realServers.length, 0),
    }
  );
}

function resultJson(result: Result) {
  const { file, files, problems, warnings } = result;
  return {
    file,
    valid: isSound(result),
    read: files,
    ...counts(result),
    problems: problems.map(problemJson),
    warnings,
  };
}

function resultText(result: Result): string {
  const found = counts(result);
  if (!found) return `${problemsText(result.problems)}${result.file}: ${countMistakes(result.problems)}\n`;
  const more = result.files.length - 1;
  const included = more === 0 ? '' : `, ${plural(more, 'included file')}`;
  const services = plural(found.virtualServices, 'virtual service');
  return `${result.file}: sound, ${services}, ${plural(found.realServers, 'real server')}${included}\n`;
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
