import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');

export type EarlierBuild = { readonly launcher: string; remove(): void };

/**
 * Builds a copy of this checkout whose records have another layout, as an earlier release might have: fields in another
 * order, and some that came later missing. Program, object and records belong together as in a real release.
 */
export function makeEarlierBuild(): EarlierBuild {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-earlier-'));
  for (const name of [
    'bin',
    'bpf',
    'src',
    'scripts',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
  ]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  edit(folder, 'bpf/layout.h', [
    [/^struct connection \{\n/m, 'struct connection {\n\t__u32 word;\n\t__u32 packets;\n'],
    [/^\t__u32 word; {18}.*\n/m, ''],
    [/^\t__u32 packets; {15}.*\n/m, ''],
    [/^\t__u32 last_weight; .*\n/m, ''],
    [/^\t__u32 salt; .*\n/m, ''],
    [/^\t__u32 hold; /m, '\t__u32 salt;\n\t__u32 hold; '],
  ]);
  edit(folder, 'src/dataplane/ebpf/encoding.ts', [[/^.*'last_weight'.*\n/m, '']]);
  edit(folder, 'src/dataplane/ebpf/tables.ts', [[/^.*'last_weight'.*\n/m, '']]);
  edit(folder, 'src/dataplane/ebpf/outlook.ts', [[/destinations\.get\(slot, 'last_weight'\)/m, '1']]);
  edit(folder, 'src/dataplane/ebpf/scheduling.ts', [
    [/^(.*lastWeight: )destinations\.get\(slot, 'last_weight'\)/m, '$11'],
  ]);
  run(folder, 'npm', ['run', '--silent', 'bpf:build']);
  run(folder, 'npm', ['run', '--silent', 'build']);
  return {
    launcher: join(folder, 'bin/ipvsadm.js'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Applies replacements, each of which must change something. */
function edit(folder: string, file: string, replacements: readonly (readonly [RegExp, string])[]): void {
  const path = join(folder, file);
  const text = replacements.reduce(
    (text, [from, to]) => {
      const changed = text.replace(from, to);
      if (changed === text) throw new Error(`edit ${file}: nothing matches ${from}`);
      return changed;
    },
    readFileSync(path, 'utf8'),
  );
  writeFileSync(path, text);
}

function run(folder: string, command: string, args: readonly string[]): void {
  const { status, stderr, stdout } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}, ${stdout}${stderr}`);
}
