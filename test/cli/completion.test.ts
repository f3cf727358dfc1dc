import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requires } from '../requirements.ts';

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');

let home: string;
let environment: NodeJS.ProcessEnv;

const headgate = (...words: string[]) =>
  spawnSync(process.execPath, [launcher, ...words], { encoding: 'utf8', timeout: 60_000, env: environment });

const scriptOf = (shell: string): string => headgate('completion', shell).stdout;

/** What one presses to complete; what the command is then given, `headgate` printing its words in `<>`. */
const lines: readonly (readonly [string, string])[] = [
  ['headgate pla\t', '<plan>'],
  ['headgate ipvsadm-r\t', '<ipvsadm-restore>'],
  ['headgate lab u\tn\t', '<lab><up><nat>'],
  ['headgate lab up my\t', '<lab><up><my file.yaml>'],
  ['headgate plan m\t', '<plan><my file.yaml>'],
  ['headgate plan --output=y\t', '<plan><--output=yaml>'],
  [
    'headgate plan --drop-runtime-changes -o j\tm\t',
    '<plan><--drop-runtime-changes><-o><json><my file.yaml>',
  ],
  ['headgate shims i\t --dir fol\t', '<shims><install><--dir><folder>'],
  ['headgate completion f\t', '<completion><fish>'],
  [
    'headgate ipvsadm -A -t 192.0.2.1:80 --schedule\t sh\t',
    '<ipvsadm><-A><-t><192.0.2.1:80><--scheduler><sh>',
  ],
  ['headgate lab status 192.0.2.10:81\t', '<lab><status><192.0.2.10:8181>'],
  ['headgate lab exec 192.0.2.10:81\t -- fals\t', '<lab><exec><192.0.2.10:8181><--><false>'],
];

/** A terminal in which `shell` runs, and the lines of `< >` that were printed there. */
function typedInto(shell: string, keys: string): string[] {
  const run = spawnSync('script', ['-qec', shell, '/dev/null'], {
    input: `${keys}exit\n`,
    encoding: 'utf8',
    timeout: 100_000,
    cwd: home,
    env: environment,
  });
  return [...run.stdout.matchAll(/(?<=[\r\n])<.*>(?=\r)/g)].map(([line]) => line);
}

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'headgate-completion-'));
  mkdirSync(join(home, 'bin'));
  mkdirSync(join(home, 'folder'));
  writeFileSync(join(home, 'my file.yaml'), '');
  // Names that are awkward, an error on the way, and a command that says what it is given.
  writeFileSync(
    join(home, 'bin/headgate'),
    `#!/bin/sh
if [ "$1" = __complete ]; then printf '192.0.2.10:80\\tabout it\\n192.0.2.10:8181\\n'; echo 'NOT FOR A SHELL' >&2; exit 1; fi
for word; do printf '<%s>' "\${word%/}"; done; echo
`,
    { mode: 0o755 },
  );
  const path = `${join(home, 'bin')}${delimiter}${process.env.PATH}`;
  environment = { PATH: path, HOME: home, ZDOTDIR: home, TERM: 'xterm', LANG: 'C.UTF-8', PS1: '$ ' };
});

afterAll(() => rmSync(home, { recursive: true }));

requires('terminal')('bash at its prompt', () => {
  beforeAll(() => writeFileSync(join(home, 'rc'), scriptOf('bash')));

  test('completes what is typed', () => {
    const keys = lines.map(([typed]) => `${typed}\n`).join('');
    expect(typedInto(`bash --noprofile --rcfile ${join(home, 'rc')} -i`, keys)).toEqual(
      lines.map(([, given]) => given),
    );
  });
});

describe('bash', () => {
  beforeAll(() => writeFileSync(join(home, 'rc'), scriptOf('bash')));

  /** The candidates bash has for a line of words, the last of which is being typed. */
  const candidates = (...words: string[]): string[] => {
    const list = words.map((word) => `'${word}'`).join(' ');
    const { stdout, stderr } = spawnSync(
      'bash',
      [
        '-c',
        `source rc; COMP_WORDS=(${list}) COMP_CWORD=${words.length - 1}; _headgate; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ],
      { encoding: 'utf8', cwd: home, env: environment },
    );
    expect(stderr).toBe('');
    return stdout.split('\n').filter((line) => line !== '');
  };

  test('is told of it by "complete", and offers all there is', () => {
    const run = spawnSync('bash', ['-c', 'source rc; complete -p headgate'], {
      encoding: 'utf8',
      cwd: home,
    });
    expect(run.stdout).toBe('complete -F _headgate headgate\n');
    expect(candidates('headgate', 'lab', '')).toEqual(
      'up list status exec kill restore cut mend test down'.split(' '),
    );
    expect(candidates('headgate', 'plan', '--')).toEqual(['--drop-runtime-changes', '--output', '--help']);
    expect(candidates('headgate', 'plan', '--output', '=', '')).toEqual(['text', 'json', 'yaml']);
    expect(candidates('headgate', 'lab', 'kill', '192.0.2.10', ':', '8')).toEqual(['80', '8181']);
    expect(candidates('headgate', 'doctor', '')).toEqual([]);
    expect(candidates('headgate', 'frobnicate', '')).toEqual([]);
  });

  test('runs nothing that stands in a name', () => {
    const names = "#!/bin/sh\necho '$(touch broken)'; echo '`touch broken`'; echo '*'\n";
    mkdirSync(join(home, 'evil'), { recursive: true });
    writeFileSync(join(home, 'evil/headgate'), names, { mode: 0o755 });
    const run = spawnSync(
      'bash',
      [
        '-c',
        `source rc; COMP_WORDS=(headgate lab kill ""); COMP_CWORD=3; _headgate; printf '%s\n' "\${COMPREPLY[@]}"; ls`,
      ],
      {
        encoding: 'utf8',
        cwd: home,
        env: { ...environment, PATH: `${join(home, 'evil')}:${process.env.PATH}` },
      },
    );
    const lines = run.stdout.split('\n');
    expect(lines.slice(0, 3)).toEqual(['$(touch broken)', '`touch broken`', '*']);
    expect(lines).not.toContain('broken');
  });
});

requires('zsh', 'terminal')('zsh', () => {
  test('completes what is typed at its prompt', () => {
    mkdirSync(join(home, 'functions'));
    writeFileSync(join(home, 'functions/_headgate'), scriptOf('zsh'));
    writeFileSync(
      join(home, '.zshrc'),
      'PS1="$ "\nunsetopt beep\nfpath=(~/functions $fpath)\nautoload -Uz compinit; compinit -u -d ~/dump\n',
    );
    const keys = lines.map(([typed]) => `${typed}\n`).join('');
    expect(typedInto('zsh -i', keys)).toEqual(lines.map(([, given]) => given));
  });

  test('takes it by "source" as well', () => {
    writeFileSync(join(home, 'completion.zsh'), scriptOf('zsh'));
    writeFileSync(
      join(home, '.zshrc'),
      'PS1="$ "\nautoload -Uz compinit; compinit -u -d ~/dump\nsource ~/completion.zsh\n',
    );
    expect(typedInto('zsh -i', 'headgate pla\t\n')).toEqual(['<plan>']);
  });
});

requires('fish')('fish', () => {
  /** The candidates of a line, without what stands beside them. */
  const candidates = (line: string): string[] => {
    const script = `source completion.fish; complete -C '${line}'`;
    const run = spawnSync('fish', ['--no-config', '-c', script], {
      encoding: 'utf8',
      cwd: home,
      env: environment,
    });
    expect(run.stderr).toBe('');
    return run.stdout
      .split('\n')
      .filter((text) => text !== '')
      .map((text) => text.split('\t')[0]!);
  };

  beforeAll(() => writeFileSync(join(home, 'completion.fish'), scriptOf('fish')));

  test.each([
    ['headgate pla', ['plan']],
    ['headgate lab u', ['up']],
    ['headgate lab up n', ['nat', 'nat-pair']],
    ['headgate lab up m', ['my file.yaml']],
    ['headgate plan m', ['my file.yaml']],
    ['headgate plan --output=y', ['--output=yaml']],
    ['headgate plan --drop-runtime-changes -o j', ['json']],
    ['headgate plan -o json m', ['my file.yaml']],
    ['headgate shims --dir fol', ['folder/']],
    ['headgate ipvsadm --schedule', ['--scheduler']],
    ['headgate lab status 192', ['192.0.2.10:80', '192.0.2.10:8181']],
    ['headgate lab exec x -- fals', ['false']],
    ['headgate doctor ', []],
    ['headgate frobnicate ', []],
  ])('completes "%s"', (line, expected) => {
    expect(candidates(line)).toEqual(expected);
  });
});

describe('the names a shell asks for', () => {
  test('are there without a word about what is wrong', () => {
    const state = join(home, 'state');
    mkdirSync(join(state, 'generations'), { recursive: true });
    for (const name of ['9.json', '10.json', '10.json.new', 'x'])
      writeFileSync(join(state, 'generations', name), '');
    environment.HEADGATE_STATE = state;
    expect(headgate('__complete', 'generations')).toMatchObject({ status: 0, stdout: '10\n9\n', stderr: '' });
    for (const kind of ['frob', 'services', 'labs'])
      expect(headgate('__complete', kind)).toMatchObject({ status: 0, stderr: '' });
  });
});
