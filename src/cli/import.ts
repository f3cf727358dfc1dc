import type { Note } from '../config/adapters/adapter.ts';
import { machineFiles } from '../config/files.ts';
import { type Imported, importFile } from '../config/import.ts';
import type { Address } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { countMistakes } from '../model/problem.ts';
import type { Streams } from './context.ts';
import { type Names, systemNames } from './ipvsadm/names.ts';
import { notesText } from './notes.ts';
import { write } from './output.ts';
import { exitCodes } from './report-error.ts';

export type ImportCommandOptions = {
  readonly from?: string;
  readonly output: 'yaml' | 'json';
  readonly check?: boolean;
};

/**
 * `import FILE`: prints the native configuration and says on standard error what became of each line that is not kept
 * as it stands. Exit code 1 with `check` when a line was ignored. Throws HG_CONFIG with every mistake.
 */
export async function importConfiguration(
  file: string,
  { from, output, check = false }: ImportCommandOptions,
  streams: Streams,
  names: Names = systemNames(),
): Promise<number> {
  const found = await readWithNames(file, from, names);
  const { notes, problems, format, yaml, values } = found;
  if (yaml === undefined)
    throw new HeadgateError('HG_CONFIG', `Cannot import file "${file}": ${countMistakes(problems)}`, {
      problems,
      hint: 'Correct the places that are named; docs/import.md says what is read.',
    });
  const summary = countKinds(notes);
  // YAML is what a configuration is written in: here it is the file itself, comments and all.
  const form = output === 'json' ? 'json' : 'text';
  await write(streams, form, { format, configuration: values, notes, summary }, () => yaml);
  streams.stderr.write(`${notesText(notes)}${file}: ${summaryText(summary)}\n`);
  return check && summary.ignored > 0 ? exitCodes.failed : exitCodes.done;
}

/** Names that ipvsadm would ask a name server for are asked for, and the file read again. */
async function readWithNames(file: string, from: string | undefined, names: Names): Promise<Imported> {
  const known = new Map<string, Address | undefined>();
  for (;;) {
    const asked = new Set<string>();
    const addressOf = (host: string): Address | undefined => {
      if (!known.has(host)) asked.add(host);
      return known.get(host);
    };
    const context = { names: { portOf: names.portOf, addressOf }, environment: process.env };
    const found = importFile(file, {
      ...context,
      files: machineFiles,
      ...(from !== undefined && { from }),
    });
    if (asked.size === 0) return found;
    await Promise.all([...asked].map(async (host) => known.set(host, await names.addressOf(host))));
  }
}

type Counts = { readonly kept: number; readonly changed: number; readonly ignored: number };

function countKinds(notes: readonly Note[]): Counts {
  const count = (wanted: Note['kind']) => notes.filter(({ kind }) => kind === wanted).length;
  return { kept: count('kept'), changed: count('changed'), ignored: count('ignored') };
}

function summaryText({ kept, changed, ignored }: Counts): string {
  const total = kept + changed + ignored;
  return `${total} line${total === 1 ? '' : 's'}: ${kept} kept, ${changed} changed, ${ignored} ignored`;
}
