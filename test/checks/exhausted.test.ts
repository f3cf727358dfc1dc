import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCheck } from '../../src/checks/run-check.ts';
import type { Check } from '../../src/config/schema/check.ts';
import { requires } from '../requirements.ts';
import { freePort } from './server.ts';
import { checked, checkOf, targetOf } from './site.ts';

const kinds: readonly (Record<string, unknown> & { readonly type: Check['type'] })[] = [
  { type: 'udp' },
  { type: 'ping' },
  { type: 'dns' },
  { type: 'dns', transport: 'tcp' },
  { type: 'sip' },
  { type: 'sip', transport: 'tcp' },
  { type: 'radius', secret: 'x' },
  { type: 'ldap' },
  { type: 'mysql' },
  { type: 'postgresql' },
  { type: 'script', command: ['true'] },
  { type: 'file', path: '/proc/sys/net/ipv4/conf/all/bootp_relay' },
];

test.each(kinds)('$type that is stopped before it began ends at once', async (keys) => {
  const ended = AbortSignal.abort();
  const result = await runCheck(checkOf({ ...keys, timeout: '1m' }), targetOf(await freePort()), {
    signal: ended,
  });
  expect(result).toMatchObject({ isGood: false, reason: 'stopped' });
  expect(result.durationMs).toBeLessThan(30_000);
});

requires('root')('without file descriptors left', () => {
  const held: number[] = [];
  let port: number;
  const before = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))![1]!;
  const limit = (soft: number | string) =>
    execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`]);

  beforeAll(async () => {
    port = await freePort();
    // Code is loaded once, and that takes descriptors.
    for (const keys of kinds) await checked(keys, port);
    limit(200);
    for (;;) {
      try {
        held.push(openSync('/dev/null', 'r'));
      } catch {
        break;
      }
    }
  });
  afterAll(() => {
    for (const fd of held.splice(0)) closeSync(fd);
    limit(before);
  });

  test.each(kinds)('$type says so', async (keys) => {
    const { result } = await checked(keys, port);
    expect(result).toMatchObject({
      isGood: false,
      reason: expect.stringContaining('file descriptors left'),
    });
  });
});
