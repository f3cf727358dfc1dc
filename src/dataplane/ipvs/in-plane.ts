import { HeadgateError } from '../../model/errors.ts';
import { isSystemError } from '../../sys/ffi.ts';
import { MalformedMessageError } from '../../sys/netlink/message.ts';
import { NetlinkError } from '../../sys/netlink/socket.ts';

/** Turns what the kernel says into one error for users: HG_IPVS, HG_NOT_ROOT or HG_NO_MEMORY. `action` is what was done. */
export function inPlane<T>(action: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof HeadgateError) throw error;
    const options = { cause: error };
    if (error instanceof MalformedMessageError)
      throw new HeadgateError(
        'HG_IPVS',
        `Cannot ${action}: the answer of the kernel is not understood: ${error.message}`,
        {
          ...options,
          hint: 'Report the kernel version (uname -r) with this line; meanwhile: dataPlane: ebpf',
        },
      );
    if (
      error instanceof NetlinkError
        ? ['EPERM', 'EACCES'].includes(error.code)
        : isSystemError(error, 'EPERM', 'EACCES')
    )
      throw new HeadgateError(
        'HG_NOT_ROOT',
        `Cannot ${action}: the kernel lets nobody administer IPVS who has not CAP_NET_ADMIN in the machine's own user namespace (${(error as Error).message})`,
        options,
      );
    if (error instanceof NetlinkError && error.code === 'ENOMEM')
      throw new HeadgateError('HG_NO_MEMORY', `Cannot ${action}: ${error.message}`, options);
    throw error;
  }
}
