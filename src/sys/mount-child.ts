import { openSync } from 'node:fs';
import { bindLibc, checked } from './ffi.ts';
import { mountVirtual, unmount } from './mount-calls.ts';

/**
 * The program behind `ensureBpffs` in another mount namespace: NAMESPACE mount|unmount DIRECTORY. Exit status 0, or 1
 * with the reason on standard error.
 */
const cloneFs = 0x200;
const cloneNewNs = 0x20000;
const cUnshare = bindLibc('unshare', 'int', ['int']);
const cSetns = bindLibc('setns', 'int', ['int', 'int']);

const [namespace, action, directory] = process.argv.slice(2) as [string, string, string];
try {
  const fd = openSync(namespace, 'r');
  // setns refuses a thread that shares its root and working directory with others.
  checked(cUnshare(cloneFs), 'unshare', 'working directory');
  checked(cSetns(fd, cloneNewNs), 'setns', `"${namespace}"`);
  if (action === 'mount') mountVirtual('bpf', directory, 'mode=0700');
  else unmount(directory, { detach: true });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
