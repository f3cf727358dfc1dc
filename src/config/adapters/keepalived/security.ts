import type { Files } from '../../files.ts';
import type { TestCodes } from '../adapter.ts';
import { isThere } from './glob.ts';

/**
 * The exit codes of `keepalived --config-test`, as keepalived(8) documents them; the program itself ends with one more where
 * it is not 0 (seen with 2.2.7, lib/scheduler.h).
 */
const codes = { good: 0, unusable: 3, mistakes: 4, insecure: 5 } as const;

/** What `keepalived --config-test` would say of a file: the gravest of what is wrong with it. */
export function testCodesOf(found: { readonly mistakes: boolean; readonly insecure: boolean }): TestCodes {
  const { good, unusable, mistakes, insecure } = codes;
  return { usable: found.insecure ? insecure : found.mistakes ? mistakes : good, unusable };
}

/** Whether one of the programs is on this machine: one that is not there is never run. */
export function anyThere(programs: readonly string[], files: Files): boolean {
  return programs.some((path) => path.startsWith('/') && isThere(path, files));
}
