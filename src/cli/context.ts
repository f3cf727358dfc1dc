import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Where a command writes: the answer to `stdout`, everything else to `stderr`. */
export type Streams = {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown };
};

/** The version in package.json, which stands two folders above this file in the source and in the built tree. */
export function productVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Which build of that version this is: what its bundle begins with. Undefined where there is none, as in the source. */
export function productBuild(): string | undefined {
  const bytes = Buffer.alloc(64);
  let bundle: number;
  try {
    bundle = openSync(new URL('../bundle/headgate.cjs', import.meta.url), 'r');
  } catch {
    return undefined;
  }
  try {
    readSync(bundle, bytes);
  } finally {
    closeSync(bundle);
  }
  return /^\/\/ (\w+)\n/.exec(bytes.toString('latin1'))?.[1];
}
