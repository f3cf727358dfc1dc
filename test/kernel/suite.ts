import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { expect } from 'vitest';
import { whyMissing } from '../requirements.ts';
import { runInGuest } from './guest.ts';
import type { FileResult } from './inside.ts';

const root = resolve(import.meta.dirname, '../..');

/** Kernels people run: Debian 13's and the oldest there is support for, Debian 12's. */
export const series = ['6.12', '6.1'] as const;
export type Series = (typeof series)[number];

export const guestNeeds = ['root', 'qemu', 'busybox', 'cpio', 'xz', 'depmod'] as const;

/** What came out of a guest: results by file, and everything else for diagnosis. */
type SuiteRun = { readonly results: readonly FileResult[]; readonly said: string };

export type GuestSuite = {
  /** Runs all files in a guest of each series, at the same time; waits for the one of `name`. */
  readonly run: (name: Series) => Promise<unknown>;
  /**
   * Every test of the file passed there, `atLeast` of them, and none was left out. Asked again, which is what a second try of
   * the asking test does, runs that file alone in a guest of its own.
   */
  readonly expectPassed: (name: Series, file: string, atLeast?: number) => Promise<void>;
};

export type SuiteOptions = {
  /** Default: all of them. */
  readonly series?: readonly Series[];
  /** Modules beside those every suite needs. */
  readonly modules?: readonly string[];
  /** As in GuestOptions: time goes by instructions, however busy the machine is, and waiting takes none. */
  readonly countInstructions?: boolean;
  /** As in GuestOptions: two guests of one series are at work at the same time in different places. */
  readonly place?: Series;
  /** How long a guest may take; default suiteTimeoutMs. */
  readonly timeoutMs?: number;
};

/**
 * Test files (paths from the root of the checkout) for guests of each series this machine has, with a processor each.
 * Nothing starts before the first `run` or question.
 */
export function suiteInGuests(
  files: readonly string[],
  environment: () => Readonly<Record<string, string>>,
  options: SuiteOptions = {},
): GuestSuite {
  const start = (
    names: readonly Series[],
    only: readonly string[],
  ): ReadonlyMap<Series, Promise<SuiteRun>> => {
    const work = mkdtempSync(join(tmpdir(), 'headgate-suite-'));
    const program = join(work, 'suite.mjs');
    const bundled = bundleSuite(only, program);
    const started = new Map(names.map((name) => [name, bundled.then(() => runProgram(name, program))]));
    Promise.allSettled(started.values()).then(() => rmSync(work, { recursive: true }));
    return started;
  };
  const runProgram = async (name: Series, program: string): Promise<SuiteRun> => {
    const modules = ['tun', 'veth', 'bridge', ...(options.modules ?? [])];
    const command = `modprobe -a ${modules.join(' ')} && exec node --enable-source-maps ${program}`;
    const { status, output, console } = await runInGuest(['sh', '-c', command], {
      series: name,
      cwd: root,
      env: environment(),
      processors: 1,
      timeoutMs: options.timeoutMs ?? suiteTimeoutMs,
      ...(options.place && { place: options.place }),
      ...(options.countInstructions && { countInstructions: true }),
    });
    const text = output.toString();
    return { results: resultsIn(text), said: `status ${status}\n${text.slice(-4000)}\n${console}` };
  };

  let together: ReadonlyMap<Series, Promise<SuiteRun>> | undefined;
  const run = (name: Series): Promise<SuiteRun> => {
    together ??= start(
      (options.series ?? series).filter((one) => whyMissing(`kernel-${one}`) === undefined),
      files,
    );
    return (
      together.get(name) ?? Promise.reject(new Error(`run tests on Linux ${name}: there is no such kernel`))
    );
  };
  const asked = new Set<string>();
  return {
    run,
    async expectPassed(name, file, atLeast = 1) {
      const question = `${name} ${file}`;
      const again = asked.has(question);
      asked.add(question);
      const { results, said } = await (again ? start([name], [file]).get(name)! : run(name));
      const result = results.find((one) => one.file === file);
      expect(result, said).toBeDefined();
      // As the message itself: the end of a run shows the first lines of one, and of a difference between lists nothing useful.
      if (result!.failed.length > 0)
        expect.fail(result!.failed.map((test) => `${test.name}: ${test.reason}`).join('\n\n'));
      expect(result!.skipped).toEqual([]);
      expect(result!.passed).toBeGreaterThanOrEqual(atLeast);
    },
  };
}

/** A busy machine takes many times the minutes an idle one does. */
export const suiteTimeoutMs = 1_500_000;

/** Makes one program of test files, which `node` runs where there is no time to translate sources: inside.ts. */
async function bundleSuite(files: readonly string[], outfile: string): Promise<void> {
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

/**
 * Files find what lies beside them, not beside the bundle. Those of src say they are the built ones, so that programs
 * they start are, too.
 */
const ownPlaces: Plugin = {
  name: 'own places',
  setup(setting) {
    setting.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const inSource = relative(join(root, 'src'), path);
      const place = inSource.startsWith('..') ? path : join(root, 'dist', inSource.replace(/\.ts$/, '.js'));
      return {
        loader: 'ts',
        contents: readFileSync(path, 'utf8')
          .replaceAll('import.meta.dirname', JSON.stringify(dirname(place)))
          .replaceAll('import.meta.filename', JSON.stringify(place))
          .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(place).href)),
      };
    });
  },
};

/** The results among everything such a program printed. */
function resultsIn(output: string): readonly FileResult[] {
  const lines = output.split('\n').filter((line) => line.startsWith('{"file":'));
  return lines.map((line) => JSON.parse(line) as FileResult);
}
