import { HeadgateError } from '../model/errors.ts';
import { isSystemError } from '../sys/ffi.ts';

/**
 * An error in the words of the command that met it (`Cannot ...`): what the kernel refuses for want of privilege is
 * HG_NOT_ROOT, other refusals are HG_LAB_FAILED. What is already in those words, and our own defects, come back as they are.
 */
export function explained(error: unknown, action: string): unknown {
  if (error instanceof HeadgateError || !(error instanceof Error) || error instanceof TypeError) return error;
  if (isSystemError(error, 'EPERM', 'EACCES', 'EROFS'))
    return new HeadgateError('HG_NOT_ROOT', `${action}: this user may not (${error.message})`, {
      cause: error,
    });
  return new HeadgateError('HG_LAB_FAILED', `${action}: ${error.message}`, { cause: error });
}
