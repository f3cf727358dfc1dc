import { describe, expect, it } from 'vitest';
import { errnoByName, errnoName, errnoText } from './errno.ts';

describe('error numbers', () => {
  // include/uapi/asm-generic/errno-base.h and errno.h; 524 in include/linux/errno.h.
  it.each([
    [1, 'EPERM'],
    [2, 'ENOENT'],
    [11, 'EAGAIN'],
    [17, 'EEXIST'],
    [22, 'EINVAL'],
    [38, 'ENOSYS'],
    [95, 'EOPNOTSUPP'],
    [108, 'ESHUTDOWN'],
    [113, 'EHOSTUNREACH'],
    [524, 'ENOTSUPP'],
  ])('%i is %s', (number, name) => {
    expect(errnoName(number)).toBe(name);
    expect(errnoByName[name]).toBe(number);
  });

  it('names an unknown number by itself', () => expect(errnoName(9999)).toBe('E9999'));

  it('explains', () => {
    expect(errnoText(1)).toBe('operation not permitted');
    expect(errnoText(524)).toBe('operation is not supported by the kernel');
    expect(errnoText(9999)).toBeUndefined();
  });
});
