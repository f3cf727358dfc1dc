import { readFileSync } from 'node:fs';

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
