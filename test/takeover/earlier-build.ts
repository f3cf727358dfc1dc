import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');

const cache = join(root, 'test/.cache/earlier');

/** What a build is made of. */
const sources = ['bin', 'bpf', 'src', 'scripts', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];

/**
 * The launcher of a build of this checkout whose records have another layout, as an earlier release might have: fields in
 * another order, and some that came later missing. Program, object and records belong together as in a real release. It is
 * made once and stays as long as what it is made of is the same.
 */
export function earlierBuild(): string {
  const folder = join(cache, keyOf([...sources, 'package-lock.json', 'test/takeover/earlier-build.ts']));
  if (!existsSync(folder)) {
    rmSync(cache, { recursive: true, force: true });
    const begun = `${folder}.begun`;
    make(begun);
    // Whole or not at all.
    renameSync(begun, folder);
  }
  return join(folder, 'bin/ipvsadm.js');
}

/** What files and folders of this checkout contain, in short. */
function keyOf(paths: readonly string[]): string {
  const hash = createHash('sha256');
  const add = (path: string): void => {
    if (statSync(path).isDirectory()) for (const name of readdirSync(path).sort()) add(join(path, name));
    else hash.update(path).update(readFileSync(path));
  };
  for (const path of paths) add(join(root, path));
  return hash.digest('hex').slice(0, 16);
}

function make(folder: string): void {
  for (const name of sources) cpSync(join(root, name), join(folder, name), { recursive: true });
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
