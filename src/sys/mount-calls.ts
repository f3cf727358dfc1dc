import { bindLibc, checked } from './ffi.ts';

/** mount(2) and its kin. Every function throws SystemError and needs CAP_SYS_ADMIN. */

const flags = { nosuid: 2, nodev: 4, noexec: 8, bind: 4096, recursive: 16384, shared: 1 << 20 } as const;
const detachFlag = 2;
const noFollow = 8;

const cMount = bindLibc('mount', 'int', ['str', 'str', 'str', 'ulong', 'str']);
const cUmount = bindLibc('umount2', 'int', ['str', 'int']);

/** Shows `source` at `target` as well; `recursive`: with what is mounted below it. Throws SystemError. */
export function bindMount(source: string, target: string, { recursive = false } = {}): void {
  const bits = flags.bind | (recursive ? flags.recursive : 0);
  checked(cMount(source, target, null, bits, null), 'mount', `"${source}" on "${target}"`);
}

/** Lets mounts below `target` appear in the mount namespaces that were copied from this one. */
export function makeShared(target: string): void {
  checked(cMount('', target, 'none', flags.shared | flags.recursive, null), 'mount', `"${target}" as shared`);
}

/** Mounts a file system that needs no device. */
export function mountVirtual(type: string, target: string, data: string): void {
  const bits = flags.nosuid | flags.nodev | flags.noexec;
  checked(cMount(type, target, type, bits, data), 'mount', `${type} on "${target}"`);
}

/** Unmounts, following no symbolic link; `detach`: also what is in use, as soon as it is no more. Throws SystemError. */
export function unmount(target: string, { detach = false } = {}): void {
  checked(cUmount(target, noFollow | (detach ? detachFlag : 0)), 'umount', `"${target}"`);
}
