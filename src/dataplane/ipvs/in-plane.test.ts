import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { HeadgateError } from '../../model/errors.ts';
import { SystemError } from '../../sys/ffi.ts';
import { NetlinkError } from '../../sys/netlink/socket.ts';
import { decodeDestination, decodeInfo, decodeService, decodeTimeouts } from './decode.ts';
import { inPlane } from './in-plane.ts';

/* Answers of Linux 6.12 that were cut or changed on the way: test/golden/ipvs/netlink.json was recorded in a guest. */

const { answers } = JSON.parse(
  readFileSync(new URL('../../../test/golden/ipvs/netlink.json', import.meta.url), 'utf8'),
) as {
  answers: {
    services: { service: string; destinations: string[] }[];
    config: string;
    info: string;
  };
};

const message = (payload: Buffer) => ({ type: 0, flags: 0, sequence: 0, portId: 0, payload });
const failureOf = (work: () => unknown) => {
  try {
    return void inPlane('read the table', work);
  } catch (error) {
    return error;
  }
};

test.each([
  ['a service', answers.services[0]!.service, (one: ReturnType<typeof message>) => decodeService(one)],
  [
    'a destination',
    answers.services.find(({ destinations }) => destinations.length > 0)!.destinations[0]!,
    (one: ReturnType<typeof message>) => decodeDestination(one, 4),
  ],
  ['timeouts', answers.config, decodeTimeouts],
  ['a version', answers.info, decodeInfo],
] as const)('%s that is cut anywhere is one error, which says what to do', (_what, hex, read) => {
  const whole = Buffer.from(hex, 'hex');
  expect(failureOf(() => read(message(whole)))).toBeUndefined();
  for (let length = 0; length < whole.length - 3; length++) {
    const error = failureOf(() => read(message(whole.subarray(0, length))));
    expect(error, `${length} bytes`).toBeInstanceOf(HeadgateError);
    const { code, message: said, hint } = error as HeadgateError;
    expect(code).toBe('HG_IPVS');
    expect(said).toMatch(/^Cannot read the table: the answer of the kernel is not understood: ./);
    expect(said).not.toContain('\n');
    expect(hint).toContain('uname -r');
  }
});

test.each([
  [
    new NetlinkError('list virtual services', { errno: 1 }),
    'HG_NOT_ROOT',
    /CAP_NET_ADMIN in the machine's own user namespace/,
  ],
  [new SystemError('openat', 13, '"/proc"'), 'HG_NOT_ROOT', /CAP_NET_ADMIN/],
  [new NetlinkError('list virtual services', { errno: 12 }), 'HG_NO_MEMORY', /^Cannot read the table: /],
] as const)('%s', (thrown, code, words) => {
  const error = failureOf(() => {
    throw thrown;
  });
  expect(error).toMatchObject({ code, message: expect.stringMatching(words), cause: thrown });
});

test('what is no answer of the kernel is left as it is', () => {
  const mistake = new TypeError('a mistake of ours');
  expect(
    failureOf(() => {
      throw mistake;
    }),
  ).toBe(mistake);
});
