import { describe, expect, test } from 'vitest';
import { breaches, importsOf, roomRules } from './layers.ts';
import { projectFiles, projectText } from './project.ts';

const source = projectFiles('src', ['.ts']);

describe('the rooms of src/', () => {
  test('import only along the arrows, without circles, barrels or default exports, at most 500 lines a file', () => {
    expect(source.length).toBeGreaterThan(0);
    expect(breaches(source)).toEqual([]);
  });

  test('each have one paragraph in ARCHITECTURE.md, and nothing else has', () => {
    const rooms = [...new Set(source.map(({ path }) => path.split('/')[1]!))].sort();
    const sections = projectText('ARCHITECTURE.md').split(/^### /m).slice(1);
    const described = sections.flatMap((section) => /^`src\/([a-z]+)\/`\n\n(\S.*)/.exec(section)?.[1] ?? []);
    expect(described.toSorted()).toEqual(rooms);
    for (const room of rooms) expect(roomRules).toHaveProperty(room);
  });
});

describe('breaches() sees', () => {
  const clean = { path: 'src/control/controller.ts', text: "import type { A } from '../model/a.ts';\n" };
  const leaf = { path: 'src/model/a.ts', text: 'export type A = 1;\n' };

  test('nothing in files that keep the rules', () => {
    expect(breaches([clean, leaf])).toEqual([]);
  });

  test.each([
    ['an arrow against the direction', 'src/model/b.ts', "import { x } from '../sys/x.ts';"],
    ['a type import against the direction', 'src/model/b.ts', "import type { X } from '../sys/x.ts';"],
    ['a dynamic import against the direction', 'src/cli/b.ts', "const x = await import('../sys/x.ts');"],
    ['a re-export against the direction', 'src/model/b.ts', "export { x } from '../sys/x.ts';"],
    ['a file beside the one that is allowed', 'src/daemon/b.ts', "import { x } from '../sys/socket.ts';"],
    ['an import over two lines', 'src/model/b.ts', "import {\n  x,\n} from '../sys/x.ts';"],
    ['koffi outside sys', 'src/dataplane/b.ts', "import koffi from 'koffi';"],
    ['a package nobody may use', 'src/sys/b.ts', "import { z } from 'zod/v4';"],
    ['input or output in the model', 'src/model/b.ts', "import { readFileSync } from 'node:fs';"],
    ['a clock in the model', 'src/model/b.ts', 'export const now = () => Date.now();'],
    ['a default export', 'src/sys/b.ts', 'export default function b() {}'],
    ['a barrel', 'src/sys/index.ts', "export { x } from './x.ts';"],
    ['a computed import', 'src/sys/b.ts', 'await import(name);'],
    ['a file that is too long', 'src/sys/b.ts', 'let a;\n'.repeat(501)],
    ['a file in no room', 'src/b.ts', 'export {};'],
    ['an unknown room', 'src/cellar/b.ts', 'export {};'],
    ['an import that leaves src', 'src/sys/b.ts', "import { x } from '../../test/x.ts';"],
    ['a circle of one', 'src/model/b.ts', "import type { B } from './b.ts';"],
  ])('%s', (_what, path, text) => {
    expect(breaches([{ path, text: `${text}\n` }])).toHaveLength(1);
  });

  test('a circle of two files', () => {
    const files = [
      { path: 'src/model/a.ts', text: "import { b } from './b.ts';\n" },
      { path: 'src/model/b.ts', text: "export { a } from './a.ts';\n" },
    ];
    expect(breaches(files)).toEqual([
      'Imports run in a circle: src/model/a.ts -> src/model/b.ts -> src/model/a.ts',
    ]);
  });

  test('no import in a comment or a string', () => {
    const text =
      "// import { x } from '../sys/x.ts';\n/* import '../sys/x.ts' */\nconst a = ['--import', 'x'];\n";
    expect(breaches([{ path: 'src/model/b.ts', text }])).toEqual([]);
  });
});

test('importsOf() lists every form once', () => {
  const code =
    "import a from 'a'; import 'b'; export * from 'c'; await import('d'); import { e } from \"e\";";
  expect(importsOf(code)).toEqual(['a', 'b', 'c', 'd', 'e']);
});
