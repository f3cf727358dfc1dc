import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCheck } from '../../src/checks/run-check.ts';
import { openRunner, type Runner } from '../../src/checks/runner.ts';
import type { Check } from '../../src/config/schema/check.ts';
import type { CheckResult } from '../../src/model/check-result.ts';
import type { BadServers } from './bad-servers.ts';
import { checkOf, targetOf } from './site.ts';

/*
 * One good server among many bad ones, all checked by one process again and again: the good one stays good, the bad ones are
 * bad for their reasons, and nothing of all that stays.
 */

type Keys = Record<string, unknown> & { readonly type: Check['type'] };
type Bad = {
  readonly name: string;
  readonly keys: Keys;
  readonly server: keyof BadServers;
  readonly reason: RegExp;
};

/** How it ends where nothing else does. */
const time = /^(tls|expect|connect|run): no answer within 200ms/;
const bad = (name: string, server: Bad['server'], reason: RegExp, keys: Keys): Bad => ({
  ...{ name, server, reason },
  // Who is bad for another reason has all the time of a slow machine for it.
  keys: { timeout: reason === time ? '200ms' : '30s', ...keys },
});

const talkers = ['http', 'https', 'tls', 'smtp', 'imap', 'pop', 'ftp', 'nntp', 'redis', 'mysql'] as const;
const bads: readonly Bad[] = [
  ...[...talkers, 'postgresql' as const, 'ldap' as const].flatMap((type) => [
    bad(`${type}: silence`, 'silent', time, { type }),
    bad(`${type}: an end at once`, 'ending', /connection (closed|reset)/, { type }),
  ]),
  ...(['http', 'smtp', 'imap', 'pop', 'nntp'] as const).flatMap((type) => [
    bad(`${type}: a byte now and then`, 'dripping', time, { type }),
    bad(`${type}: a line without end`, 'longLine', /^expect: a line of more than \d+ bytes/, { type }),
  ]),
  bad('a body without end', 'endless', /^expect: first \d+ bytes of the body without "y"/, {
    type: 'http',
    contains: 'y',
  }),
  bad('HTTP/2 of one who floods', 'longLine', /^expect: the server does not speak HTTP\/2/, {
    type: 'http',
    version: 'HTTP/2',
  }),
  bad('a reset', 'resetting', /connection reset/, { type: 'http' }),
  bad('no TLS', 'longLine', /^tls: the server answers without TLS/, { type: 'https' }),
  bad('answers to other queries', 'liar', time, { type: 'dns', query: 'example.org' }),
  bad('a script that never ends, with children', 'silent', time, {
    type: 'script',
    command: ['/bin/sh', '-c', 'trap "" TERM; for i in 1 2 3; do sleep 97 & done; wait'],
  }),
];

let servers: ChildProcess;
let ports: BadServers;
beforeAll(async () => {
  const script = new URL('./bad-servers.ts', import.meta.url).pathname;
  servers = spawn(process.execPath, ['--import', 'tsx', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [text] = await once(servers.stdout!.setEncoding('utf8'), 'data');
  ports = JSON.parse(text);
});
afterAll(() => void servers.kill('SIGKILL'));

const descriptors = (): number => readdirSync('/proc/self/fd').length;
/** Children of this process beside the servers, ended ones that nobody has waited for included. */
function children(): number {
  const list = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(/\s+/);
  return list.filter((pid) => pid !== String(servers.pid) && pid !== '').length;
}

/** Runs every bad check, each twice at once, until each has had its turns; results by name. */
async function runAll(turns: number, nowMs: () => number) {
  const results = new Map<string, CheckResult[]>(bads.map(({ name }) => [name, []]));
  const goods: CheckResult[] = [];
  const names = new Map<string, string>();
  let runner: Runner | undefined;
  await new Promise<void>((resolve) => {
    runner = openRunner({
      ...{ nowMs, random: Math.random, run: runCheck },
      onResult(key, result) {
        const name = names.get(key);
        (name === undefined ? goods : results.get(name)!).push(result);
        const isOver = [...results.values(), goods].every(({ length }) => length >= turns);
        if (isOver) resolve();
        return 50;
      },
    });
    const patient = checkOf({ type: 'http', timeout: '30s' });
    runner.start('good', { check: patient, target: targetOf(ports.good) }, 0);
    for (const { name, keys, server } of bads)
      for (let copy = 0; copy < 2; copy++) {
        const key = `${name} ${copy}`;
        names.set(key, name);
        runner.start(key, { check: checkOf(keys), target: targetOf(ports[server]) }, 100);
      }
  });
  runner!.close();
  return { results, goods };
}

test('the good one stays good, the bad ones say why, and nothing of it stays', async () => {
  // Code is loaded, and pools of memory are filled, by the first ones.
  await runAll(1, Date.now);
  await expect.poll(children).toBe(0);
  const before = { descriptors: descriptors(), rss: process.memoryUsage().rss };
  // A clock that is set back and forth by a year at every look moves no check.
  let yearMs = 31_536_000_000;
  const jumping = (): number => {
    yearMs = -yearMs;
    return Date.now() + yearMs;
  };
  const { results, goods } = await runAll(5, jumping);
  expect(goods.filter(({ isGood }) => !isGood)).toEqual([]);
  for (const { name, reason } of bads)
    for (const result of results.get(name)!)
      expect({ name, said: result.isGood ? 'good' : `${result.phase}: ${result.reason}` }).toEqual({
        name,
        said: expect.stringMatching(reason),
      });
  await expect.poll(children).toBe(0);
  await expect.poll(descriptors).toBeLessThanOrEqual(before.descriptors);
  expect((process.memoryUsage().rss - before.rss) / 2 ** 20).toBeLessThan(150);
});
