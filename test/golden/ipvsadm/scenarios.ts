import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { goldenFolder } from './golden.ts';

/** One command of a scenario; the result is recorded. */
export type CommandStep = {
  /** The command line, program first; words are separated by blanks, `'...'` keeps blanks. */
  readonly run: string;
  readonly stdin?: string;
  /** Also record what the kernel holds (connections, counters, rates), so that a listing can be checked. */
  readonly observe: boolean;
};

/** Preparation inside the guest; nothing is recorded. */
export type ShellStep = { readonly shell: string };

export type Scenario = { readonly name: string; readonly steps: readonly (CommandStep | ShellStep)[] };

const folder = join(goldenFolder, 'scenarios');

/**
 * The scenarios: one text file each, one step a line. `$ FILE` runs a shell file, `? COMMAND` is observed, any other
 * line is a command, and `COMMAND <<< "TEXT"` (a JSON string) gives it standard input. Every scenario starts with an
 * empty table and the timeouts 900 120 300.
 */
export function readScenarios(): readonly Scenario[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.txt'))
    .sort()
    .map((file) => ({
      name: file.replace(/\.txt$/, ''),
      steps: readFileSync(join(folder, file), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map(parseStep),
    }));
}

function parseStep(line: string): CommandStep | ShellStep {
  if (line.startsWith('$ ')) return { shell: readFileSync(join(folder, line.slice(2)), 'utf8') };
  const observe = line.startsWith('? ');
  const [run = '', stdin] = (observe ? line.slice(2) : line).split(' <<< ');
  return {
    run: run.trimEnd(),
    observe,
    ...(stdin === undefined ? {} : { stdin: JSON.parse(stdin) as string }),
  };
}
