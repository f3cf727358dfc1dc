/**
 * `tsx scripts/man.ts [FOLDER]`: writes the manual pages, into man/ when no folder is named. They are made when the
 * package is (prepack) and not kept: everything in them stands in docs/reference and in the commands already. Their date is
 * today, or SOURCE_DATE_EPOCH for a package that can be made again.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandTree } from '../src/cli/command-tree.ts';
import { productVersion } from '../src/cli/context.ts';
import { buildProgram } from '../src/cli/program.ts';
import { configurationReference } from './configuration-reference.ts';
import { manPages } from './man-pages.ts';

const folder = process.argv[2] ?? fileURLToPath(new URL('../man', import.meta.url));
const epoch = process.env.SOURCE_DATE_EPOCH;
const now = epoch === undefined ? new Date() : new Date(Number(epoch) * 1000);
const pages = manPages({
  program: commandTree(buildProgram(process, { exitCode: 0 })),
  commands: readFileSync(new URL('../docs/reference/cli.md', import.meta.url), 'utf8'),
  configuration: configurationReference(),
  version: productVersion(),
  date: now.toISOString().slice(0, 10),
});
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
for (const [name, text] of pages) writeFileSync(join(folder, name), text);
