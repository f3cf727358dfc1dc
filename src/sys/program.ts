import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/** The folder of this package, wherever in it this module ended up (src, dist, or a bundle in dist). */
export const packageRoot = findRoot(import.meta.dirname);

function findRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder));
}

/**
 * The arguments that make Node run a module of this package as a program of its own; `name` is its path below src,
 * without extension. Built packages hold JavaScript; in a source checkout tsx translates.
 */
export function moduleProgram(name: string): readonly string[] {
  if (!import.meta.filename.endsWith('.ts')) return [join(packageRoot, 'dist', `${name}.js`)];
  const loader = createRequire(import.meta.url).resolve('tsx');
  return ['--import', pathToFileURL(loader).href, join(packageRoot, 'src', `${name}.ts`)];
}

/** Starts a thread that runs a module of this package; `name` as for `moduleProgram`. */
export function moduleThread(name: string, options: WorkerOptions): Worker {
  if (!import.meta.filename.endsWith('.ts'))
    return new Worker(join(packageRoot, 'dist', `${name}.js`), options);
  // A thread has not the loader that its process was started with.
  const loader = JSON.stringify(createRequire(import.meta.url).resolve('tsx/esm/api'));
  const module = JSON.stringify(pathToFileURL(join(packageRoot, 'src', `${name}.ts`)).href);
  return new Worker(`require(${loader}).tsImport(${module}, ${module})`, { ...options, eval: true });
}
