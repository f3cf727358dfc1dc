import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectFiles, projectText, withoutComments } from './project.ts';

/** The npm packages that are loaded with a file: what it imports at once, and what that does. Types are not loaded. */
function packagesOf(path: string, seen = new Set<string>()): string[] {
  if (seen.has(path)) return [];
  seen.add(path);
  const code = withoutComments(projectText(path));
  const imports = [...code.matchAll(/^(?:import|export)\s(?!type\b)[^;]*?from '([^']+)';/gm)].map(
    ([, specifier]) => specifier!,
  );
  return imports.flatMap((specifier) => {
    if (specifier.startsWith('node:')) return [];
    return specifier.startsWith('.') ? packagesOf(join(dirname(path), specifier), seen) : [specifier];
  });
}

/** Of the 115 ms an ipvsadm command takes, the schema library would be 80 more. */
test.each([
  'src/cli/ipvsadm/main.ts',
  'src/cli/ipvsadm/run.ts',
  'src/cli/connect.ts',
  'src/control/embedded.ts',
  'src/control/runtime-event.ts',
])('what every ipvsadm command loads needs no package but the door to the kernel: %s', (path) => {
  expect(packagesOf(path).filter((name) => name !== 'koffi')).toEqual([]);
});

test('the walk sees packages where there are some', () => {
  expect(packagesOf('src/config/load.ts')).toContain('zod');
});

/** `import { z }` is an object that everything in the package hangs on, 600 kB of it in each bundle. */
test('the schema library is imported so that the bundle takes of it what is used', () => {
  const whole = /import (?!type\b)[^;]*\bz\b[^;*]*} from 'zod'/;
  const taking = projectFiles('src', ['.ts']).filter(({ text }) => whole.test(text));
  expect(taking.map(({ path }) => path)).toEqual([]);
});
