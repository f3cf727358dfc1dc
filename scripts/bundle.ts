import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Script } from 'node:vm';
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
  // A script from V8's own form has nobody who would import for it.
  supported: { 'dynamic-import': false },
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

/** What bin/bundle.js gives the launchers. */
type Loader = {
  readonly bundlePath: (name: string) => string;
  readonly codePath: (path: string, source: string) => string;
  readonly loadBundle: (path: string) => { readonly program: Program; readonly script: Script };
};
type Program = { readonly main: (words: readonly string[], streams: object) => Promise<number> };

const { bundlePath, codePath, loadBundle }: Loader = createRequire(import.meta.url)('../bin/bundle.js');

/** Puts the fingerprint of a bundle into its first line, by which its code is found. */
function sign(name: string): { readonly path: string; readonly text: string } {
  const path = bundlePath(name);
  const bare = readFileSync(path, 'latin1');
  const text = `// ${createHash('sha256').update(bare).digest('hex').slice(0, 16)}\n${bare}`;
  writeFileSync(path, text, 'latin1');
  return { path, text };
}

/** Keeps what V8 makes of a bundle: the functions that `use` has run, which are the ones most commands begin with. */
async function keepCode(name: string, use: (program: Program) => Promise<void>): Promise<void> {
  const { path, text } = sign(name);
  const { program, script } = loadBundle(path);
  await use(program);
  writeFileSync(codePath(path, text), script.createCachedData());
}

const example = `
virtualServices:
  - name: web
    address: [192.0.2.10:80, '[2001:db8::10]:80']
    scheduler: wlc
    method: masquerade
    check: { type: tcp, port: 80 }
    realServers:
      - { name: web1, address: 10.0.0.1:80, weight: 2 }
      - { name: web2, address: '[2001:db8::1]:80', weight: 1 }
`;

await keepCode('ipvsadm', async () => undefined);
await keepCode('headgate', async ({ main }) => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-bundle-'));
  const file = join(folder, 'headgate.yaml');
  const silent = { write: () => true };
  try {
    writeFileSync(file, example);
    const status = await main(['validate', file], { stdout: silent, stderr: silent });
    if (status !== 0)
      throw new Error(`Cannot run the bundle: wanted exit code 0 of validate, found ${status}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const licenses = packages.map((name) => {
  const text = readFileSync(`node_modules/${name}/LICENSE`, 'utf8').trim();
  return `${name}\n\n${text}\n`;
});
writeFileSync('dist/bundle/LICENSES', `The files beside this one contain:\n\n${licenses.join('\n\n')}`);
