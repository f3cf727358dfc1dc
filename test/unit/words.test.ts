import { homedir } from 'node:os';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { projectFiles, projectRoot } from './project.ts';

/** Words of other load balancers, the word this project uses, and where a file may say them and why. */
const replacedWords = [
  { word: 'vserver', ours: 'virtual service' },
  { word: 'lb_algo', ours: 'scheduler' },
  { word: 'lb_kind', ours: 'forwarding method' },
  { word: 'sticky', ours: 'persistence' },
  { word: 'dsr', ours: 'direct routing' },
  { word: 'upstream', ours: 'real server' },
  { word: 'backend', ours: 'real server, or data plane' },
];

const allowed: readonly {
  readonly path: string;
  readonly words: readonly string[];
  readonly because: string;
}[] = [
  {
    path: 'CONTRIBUTING.md',
    words: replacedWords.map(({ word }) => word),
    because: 'it lists the words not to use',
  },
  {
    path: 'bench/lab/contestants.ts',
    words: ['upstream'],
    because: 'it writes a configuration of nginx, where the word is a directive',
  },
  {
    path: 'test/unit/words.test.ts',
    words: replacedWords.map(({ word }) => word),
    because: 'it is this list',
  },
  {
    path: 'src/config/old-words.ts',
    words: ['vserver', 'lb_algo', 'lb_kind', 'sticky', 'dsr', 'upstream', 'backend'],
    because: 'it names our word to those who write one of these into our files',
  },
  {
    path: 'src/config/old-words.test.ts',
    words: ['vserver', 'lb_algo', 'lb_kind', 'sticky', 'upstream', 'backend'],
    because: 'it holds that list against the files those words come from',
  },
  ...['grammar.ts', 'virtual-server.ts', 'keepalived.test.ts'].map((name) => ({
    path: `src/config/adapters/keepalived/${name}`,
    words: ['lb_algo', 'lb_kind'],
    because: 'it reads files in which these words stand',
  })),
  {
    path: 'docs/from-keepalived.md',
    words: ['lb_algo', 'lb_kind'],
    because: 'it tells those who know these words ours',
  },
];

const endings = ['.ts', '.js', '.c', '.h', '.md', '.sh', '.json', '.yaml', '.yml', '.service'];
const folders = ['src', 'bin', 'bpf', 'test', 'scripts', 'bench', 'docs', 'packaging'];
const atRoot = [
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'README.md',
  'vitest.config.ts',
  '.ci/run',
];
const files = [
  ...folders.flatMap((folder) => projectFiles(folder, endings)),
  ...projectFiles('.', atRoot).filter(({ path }) => atRoot.includes(path)),
];

/** The words a text consists of, in lower case: identifiers also taken apart at their humps. */
function wordsIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const [identifier] of text.matchAll(/[A-Za-z_][A-Za-z0-9_]*/g)) {
    const snake = identifier.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();
    found.add(snake).add(identifier.toLowerCase());
    for (const part of snake.split('_')) found.add(part.replace(/s$/, '')).add(part);
  }
  return found;
}

/** Folders that every machine has (hier(7)): a clone in one of them says nothing about whose machine it is. */
const everywhere = new Set([
  '/',
  '/home',
  '/media',
  '/mnt',
  '/opt',
  '/run',
  '/srv',
  '/tmp',
  '/usr',
  '/usr/src',
  '/var',
]);

describe('the words', () => {
  test('wordsIn() takes identifiers apart', () => {
    expect(wordsIn('addBackends(lb_algo)')).toEqual(
      new Set(['add_backends', 'addbackends', 'add', 'backend', 'backends', 'lb_algo', 'lb', 'algo']),
    );
  });

  test('of other load balancers appear in no file', () => {
    const found = files.flatMap(({ path, text }) => {
      const words = wordsIn(text);
      const exempt = allowed.find((entry) => entry.path === path)?.words ?? [];
      return replacedWords
        .filter(({ word }) => words.has(word) && !exempt.includes(word))
        .map(({ word, ours }) => `${path} says "${word}": wanted "${ours}"`);
    });
    expect(found).toEqual([]);
  });

  test('are allowed only where a file still says them', () => {
    const stale = allowed.flatMap(({ path, words }) => {
      const said = wordsIn(files.find((file) => file.path === path)?.text ?? '');
      return words.filter((word) => !said.has(word)).map((word) => `${path}: ${word}`);
    });
    expect(stale).toEqual([]);
  });

  test('say nothing of work left to do', () => {
    const marks = [
      ['TO', 'DO'],
      ['FIX', 'ME'],
      ['XX', 'X'],
      ['not imple', 'mented'],
    ].map((halves) => halves.join(''));
    const found = files.flatMap(({ path, text }) =>
      marks.filter((mark) => new RegExp(`\\b${mark}\\b`).test(text)).map((mark) => `${path}: ${mark}`),
    );
    expect(found).toEqual([]);
  });

  test('name no folder of the machine this was written on', () => {
    const here = [dirname(projectRoot), homedir()].filter((folder) => !everywhere.has(folder));
    const found = files.flatMap(({ path, text }) =>
      here
        .filter((folder) => new RegExp(`(?<![\\w.])${folder}/`).test(text))
        .map((folder) => `${path}: ${folder}`),
    );
    expect(found).toEqual([]);
  });
});
