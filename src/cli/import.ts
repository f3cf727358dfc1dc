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

/** The word for the kernel's table where the format of a file is named. */
const fromKernel = 'kernel';

/** `import --from kernel`: the same for the table that is in the kernel now, whichever program made it. */
async function importKernel(names: Names): Promise<{ readonly found: Imported; readonly file: string }> {
  const { readKernelTable } = await import('../control/kernel-table.ts');
  const { filesOf, kernelTable } = await import('./import-kernel.ts');
  const { rulesOf } = await import('./ipvsadm/save.ts');
  const rules = await rulesOf(await readKernelTable(), names);
  if (rules.trim() === '')
    throw new HeadgateError(
      'HG_IMPORT_FORMAT',
      'Cannot import the table of the kernel: it has no virtual service',
      {
        hint: 'HEADGATE_PLANE=ipvs headgate ipvsadm -L -n shows it',
      },
    );
  const found = importFile(kernelTable, {
    names: { portOf: names.portOf, addressOf: () => undefined },
    environment: {},
    files: filesOf(rules),
    from: 'ipvsadm',
  });
  return { found, file: kernelTable };
}

/**
 * `import FILE`: prints the native configuration and says on standard error what became of each line that is not kept
 * as it stands. Exit code 1 with `check` when a line was ignored. Throws HG_CONFIG with every mistake.
 */
export async function importConfiguration(
  given: string | undefined,
  { from, output, check = false }: ImportCommandOptions,
  streams: Streams,
  names: Names = systemNames(),
): Promise<number> {
  const { found, file } =
    from === fromKernel && given === undefined
      ? await importKernel(names)
      : { found: await readWithNames(fileOf(given), from, names), file: fileOf(given) };
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

function fileOf(given: string | undefined): string {
  if (given !== undefined) return given;
  throw new HeadgateError('HG_USAGE', 'Cannot import: wanted the file of another program, found none', {
    hint: 'headgate import FILE; for the table that is in the kernel: headgate import --from kernel',
  });
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
