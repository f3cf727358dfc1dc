import { bindLibc } from './ffi.ts';

/** Users and groups by name, as this host's name services know them (getpwnam_r(3), getgrnam_r(3)). */

const cUser = bindLibc('getpwnam_r', 'int', ['str', 'void *', 'void *', 'size_t', 'void *']);
const cGroup = bindLibc('getgrnam_r', 'int', ['str', 'void *', 'void *', 'size_t', 'void *']);

/** Room for a struct passwd, and for the texts it points at: a group of thousands has long ones. */
const structBytes = 64;
const textBytes = 1024 * 1024;
/** struct passwd: two pointers before the numbers. struct group: the same. */
const numbersAt = 16;

/** The user of this name: its number and that of its group. Undefined where there is none. */
export function userByName(name: string): { readonly uid: number; readonly gid: number } | undefined {
  const entry = lookUp(cUser, name);
  return entry && { uid: entry.readUInt32LE(numbersAt), gid: entry.readUInt32LE(numbersAt + 4) };
}

/** The number of the group of this name; undefined where there is none. */
export function groupByName(name: string): number | undefined {
  return lookUp(cGroup, name)?.readUInt32LE(numbersAt);
}

function lookUp(call: (...args: any[]) => any, name: string): Buffer | undefined {
  const entry = Buffer.alloc(structBytes);
  const found = Buffer.alloc(8);
  const result: number = call(name, entry, Buffer.allocUnsafe(textBytes), textBytes, found);
  return result === 0 && found.readBigUInt64LE() !== 0n ? entry : undefined;
}

/**
 * Whom a program is to run as, for `spawn`; nothing where nobody is named. Without `group` it is that of the user. Throws an
 * Error that says who is not there.
 */
export function identityOf({
  user,
  group,
}: {
  readonly user?: string | undefined;
  readonly group?: string | undefined;
}): { readonly uid?: number; readonly gid?: number } {
  const found = user === undefined ? undefined : userByName(user);
  if (user !== undefined && !found) throw new Error(`cannot run as "${user}": no such user`);
  const gid = group === undefined ? found?.gid : groupByName(group);
  if (group !== undefined && gid === undefined)
    throw new Error(`cannot run as group "${group}": no such group`);
  return { ...(found && { uid: found.uid }), ...(gid !== undefined && { gid }) };
}
