import { describe, expect, test } from 'vitest';
import { verbs } from '../../src/cli/verbs.ts';
import { errorCatalogue } from '../../src/model/errors.ts';
import { eventKinds } from '../../src/model/event.ts';
import { requirements } from '../requirements.ts';
import { projectFiles, projectText } from './project.ts';

describe('docs/reference/cli.md', () => {
  const page = projectText('docs/reference/cli.md');

  test('has the verbs of the program in its tables, each under its heading, and no other', () => {
    const lines = page.matchAll(/^(?:### (.+)|\| `headgate (.+)` \| (.+) \|)$/gm);
    let group: string | undefined;
    const documented = [...lines].flatMap(([, heading, usage, summary]) => {
      group = heading ?? group;
      return usage === undefined ? [] : [{ group, usage: usage.replaceAll('\\|', '|'), summary }];
    });
    expect(documented).toEqual(verbs.map(({ group, usage, summary }) => ({ group, usage, summary })));
  });
});

test('docs/dependencies.md names every dependency of package.json with its version and a reason, and no other', () => {
  const manifest = JSON.parse(projectText('package.json')) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const sections = projectText('docs/dependencies.md').split(/^## /m).slice(1);
  const tables = sections.map((section) =>
    Object.fromEntries(
      [...section.matchAll(/^\| (\S+) \| (\d\S*) \| (\S.+) \|$/gm)].map(([, name, version]) => [
        name,
        version,
      ]),
    ),
  );
  expect(tables).toEqual([manifest.dependencies, manifest.devDependencies]);
});

test('docs/history.md has every kind of event in its table, once', () => {
  const table = projectText('docs/history.md').split('| `kind` | When')[1]!.split('\n\n')[0]!;
  const kinds = [...table.matchAll(/^\| (`.+?`) \|/gm)].flatMap(([, cell]) => cell!.split(', '));
  expect(kinds.sort()).toEqual(eventKinds.map((kind) => `\`${kind}\``).sort());
});

test('.ci/run installs every package a test can require', () => {
  const script = projectText('.ci/run');
  const list = /^packages=\(([^)]*)\)/m.exec(script)?.[1]?.trim().split(/\s+/) ?? [];
  const needed = Object.values(requirements).flatMap((one) =>
    'debianPackage' in one ? [one.debianPackage] : [],
  );
  expect(list).toEqual(expect.arrayContaining([...new Set(needed)]));
});

test('every npm script that a page mentions exists', () => {
  const { scripts } = JSON.parse(projectText('package.json')) as { scripts: Record<string, string> };
  const pages = [
    ...projectFiles('docs', ['.md']),
    ...['README.md', 'CONTRIBUTING.md'].map((path) => ({ path, text: projectText(path) })),
  ];
  const unknown = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/npm run ([a-z:-]+)/g)]
      .filter(([, name]) => !(name! in scripts))
      .map(([said]) => `${path}: ${said}`),
  );
  expect(unknown).toEqual([]);
});

test('every link from a page to a file of the project leads somewhere', () => {
  const pages = [
    ...projectFiles('docs', ['.md']),
    ...projectFiles('.', ['.md']).filter(({ path }) => !path.includes('/')),
  ];
  const present = new Set(projectFiles('.', ['']).map(({ path }) => path));
  const broken = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)]
      .map(([, target]) => new URL(target!, `file:///${path}`).pathname.slice(1))
      .filter((target) => !present.has(target))
      .map((target) => `${path} -> ${target}`),
  );
  expect(broken).toEqual([]);
});

test('every error code that a page mentions is in the catalogue', () => {
  const unknown = projectFiles('docs', ['.md']).flatMap(({ path, text }) =>
    [...text.matchAll(/\bHG_[A-Z0-9_]+\b/g)]
      .filter(([code]) => !(code in errorCatalogue))
      .map(([code]) => `${path}: ${code}`),
  );
  expect(unknown).toEqual([]);
});
