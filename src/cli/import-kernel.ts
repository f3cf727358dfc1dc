import type { Files } from '../config/files.ts';

/** What a table read from the kernel is called where files have a name. */
export const kernelTable = 'the table of the kernel';

/** These rules where a file is asked for. */
export const filesOf = (rules: string): Files => ({
  read: () => Buffer.from(rules),
  list: () => [],
  identity: (path) => path,
});
