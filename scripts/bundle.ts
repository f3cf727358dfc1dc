import { build } from 'esbuild';

/**
 * Makes one CommonJS file per launcher of what tsc built. Starting a program is what an ipvsadm command mostly does:
 * Node's ESM loader and a file per module cost 60 ms more than the command's own work (docs/performance.md). The
 * modules in dist stay as they are, for programs that run as processes of their own.
 */
await build({
  entryPoints: { headgate: 'dist/cli/main.js', ipvsadm: 'dist/cli/ipvsadm/main.js' },
  outdir: 'dist/bundle',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
  define: {
    'import.meta.url': 'bundleUrl',
    'import.meta.dirname': '__dirname',
    'import.meta.filename': '__filename',
  },
});
