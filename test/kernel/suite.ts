import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import type { FileResult } from './inside.ts';

const root = resolve(import.meta.dirname, '../..');

/**
 * Makes one program of test files, which `node` runs where there is neither vitest nor time to translate sources; what
 * it prints is in inside.ts. `files` are paths from the root of the checkout.
 */
export async function bundleSuite(files: readonly string[], outfile: string): Promise<void> {
  const imports = files.map(
    (file) => `${JSON.stringify(file)}: () => import(${JSON.stringify(`./${file}`)})`,
  );
  const contents = `import { runFiles } from './test/kernel/inside.ts';\nawait runFiles({ ${imports.join(', ')} });\n`;
  await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
    sourcemap: 'inline',
    sourcesContent: false,
    banner: {
      js: "import { createRequire as bundleRequire } from 'node:module'; const require = bundleRequire(import.meta.url);",
    },
    plugins: [ownPlaces],
  });
}

/** The results among everything such a program printed. */
export function resultsIn(output: Buffer): readonly FileResult[] {
  const lines = output.toString().split('\n');
  return lines.filter((line) => line.startsWith('{"file":')).map((line) => JSON.parse(line) as FileResult);
}

/** Files are found beside the source they are named in, not beside the bundle. */
const ownPlaces: Plugin = {
  name: 'own places',
  setup(setting) {
    setting.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
        .replaceAll('import.meta.filename', JSON.stringify(path))
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
    }));
  },
};
