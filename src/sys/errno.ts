import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** Numbers the kernel returns that Node's table leaves out (include/uapi/asm-generic/errno.h, include/linux/errno.h). */
const beyondNode: Record<string, number> = {
  ENONET: 64,
  ENOPKG: 65,
  ECOMM: 70,
  ENOTUNIQ: 76,
  EBADFD: 77,
  EREMCHG: 78,
  EUSERS: 87,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESHUTDOWN: 108,
  EHOSTDOWN: 112,
  EREMOTEIO: 121,
  EMEDIUMTYPE: 124,
  ENOKEY: 126,
  ENOTSUPP: 524,
};

/** Error numbers of this platform by name, e.g. `errnoByName.EPERM === 1`. */
export const errnoByName: Readonly<Record<string, number>> = { ...constants.errno, ...beyondNode };

let nameByErrno: Map<number, string> | undefined;

/** The name of an error number; EAGAIN rather than EWOULDBLOCK, EOPNOTSUPP rather than ENOTSUP; `E<number>` for an unknown one. */
export function errnoName(errno: number): string {
  if (!nameByErrno) {
    nameByErrno = new Map();
    for (const [name, number] of Object.entries(errnoByName)) {
      if (!nameByErrno.has(number)) nameByErrno.set(number, name);
    }
    nameByErrno.set(errnoByName.EAGAIN!, 'EAGAIN').set(errnoByName.EOPNOTSUPP!, 'EOPNOTSUPP');
  }
  return nameByErrno.get(errno) ?? `E${errno}`;
}

/** What an error number means, in words ("operation not permitted"), or undefined where Node knows none. */
export function errnoText(errno: number): string | undefined {
  if (errno === beyondNode.ENOTSUPP) return 'operation is not supported by the kernel';
  return getSystemErrorMap().get(-errno)?.[1];
}
