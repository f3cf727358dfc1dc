import { readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

/** Packages that go into the files; koffi stays outside, because it is a library of the machine's own kind. */
const packages = ['commander', 'yaml', 'zod'];

/**
 * Makes one CommonJS file per launcher of what tsc built. Starting a program is what an ipvsadm command mostly does:
 * Node's ESM loader and a file per module cost 60 ms more than the command's own work, and the packages' hundreds of
 * files 100 ms more in each command that reads a configuration (docs/performance.md). The modules in dist stay as they
 * are, for programs that run as processes of their own.
 */
await build({
  entryPoints: { headgate: 'dist/cli/main.js', ipvsadm: 'dist/cli/ipvsadm/main.js' },
  outdir: 'dist/bundle',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  external: ['koffi', '@koromix/*'],
  // The ES modules of a package, of which only what is used is taken.
  conditions: ['import'],
  mainFields: ['module', 'main'],
  logLevel: 'warning',
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
  define: {
    'import.meta.url': 'bundleUrl',
    'import.meta.dirname': '__dirname',
    'import.meta.filename': '__filename',
  },
});

const licenses = packages.map((name) => {
  const text = readFileSync(`node_modules/${name}/LICENSE`, 'utf8').trim();
  return `${name}\n\n${text}\n`;
});
writeFileSync('dist/bundle/LICENSES', `The files beside this one contain:\n\n${licenses.join('\n\n')}`);
