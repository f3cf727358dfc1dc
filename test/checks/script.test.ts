import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runCheck } from '../../src/checks/run-check.ts';
import { parseAddress } from '../../src/model/address.ts';
import { requires } from '../requirements.ts';
import { checked, checkOf, targetOf } from './site.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hgscript-'));
  chmodSync(folder, 0o777);
});
afterEach(() => rmSync(folder, { recursive: true }));

function script(body: string): string {
  const path = join(folder, 'check');
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

async function run(body: string, keys: Record<string, unknown> = {}) {
  return (await checked({ type: 'script', command: [script(body)], ...keys }, 80)).result;
}

describe('what the exit code means', () => {
  test('0 is good, all else is bad, and the last line says why', async () => {
    expect(await run('echo one; echo two >&2')).toMatchObject({ isGood: true, detail: 'exit code 0: two' });
    expect(await run('echo one; echo "disk is full"; exit 3')).toMatchObject({
      isGood: false,
      phase: 'run',
      reason: 'exit code 3: disk is full',
    });
    expect(await run('kill -TERM $$')).toMatchObject({ isGood: false, reason: 'ended by SIGTERM' });
  });

  test('with dynamicWeight 2 to 255 set the weight', async () => {
    // keepalived.conf(5), misc_dynamic: "the weight will be set to 255 less 2".
    const keys = { dynamicWeight: true };
    expect(await run('exit 255', keys)).toMatchObject({ isGood: true, weight: 253 });
    expect(await run('exit 2', keys)).toMatchObject({ isGood: true, weight: 0 });
    expect(await run('exit 1', keys)).toMatchObject({ isGood: false, reason: 'exit code 1' });
    expect(await run('exit 0', keys)).not.toHaveProperty('weight');
  });
});

test('what cannot be run says why', async () => {
  const reason = async (keys: Record<string, unknown>) =>
    (await checked({ type: 'script', command: [join(folder, 'check')], ...keys }, 80)).result;
  expect(await reason({})).toMatchObject({ reason: `cannot run "${folder}/check": no such program` });
  writeFileSync(join(folder, 'check'), 'no program', { mode: 0o644 });
  expect(await reason({})).toMatchObject({ isGood: false, reason: expect.stringContaining('not permitted') });
  expect(await reason({ user: 'hgnobody' })).toMatchObject({
    reason: 'cannot run as "hgnobody": no such user',
  });
});

test('it is given the target: by arguments as ldirectord gives them, and by its environment', async () => {
  const out = join(folder, 'out');
  const path = script(`echo "$@" > ${out}; env | sort >> ${out}`);
  const target = {
    ...targetOf(8080, parseAddress('10.0.0.5')),
    realServer: { address: parseAddress('10.0.0.5')!, port: 80 },
    service: { kind: 'address', protocol: 'tcp', address: parseAddress('10.0.0.1')!, port: 443 } as const,
  };
  process.env.HGSCRIPT_SECRET = 'secret';
  await runCheck(checkOf({ type: 'script', command: [path, '-x', '$HOME *'], appendTarget: true }), target);
  delete process.env.HGSCRIPT_SECRET;
  const lines = readFileSync(out, 'utf8').split('\n');
  expect(lines[0]).toBe('-x $HOME * 10.0.0.1 443 10.0.0.5 80');
  expect(lines).toEqual(
    expect.arrayContaining([
      'HEADGATE_PROTOCOL=tcp',
      'HEADGATE_VIRTUAL_ADDRESS=10.0.0.1',
      'HEADGATE_VIRTUAL_PORT=443',
      'HEADGATE_REAL_ADDRESS=10.0.0.5',
      'HEADGATE_REAL_PORT=80',
      'HEADGATE_CHECK_PORT=8080',
    ]),
  );
  expect(lines.join()).not.toContain('secret');

  const marked = { ...target, service: { kind: 'fwmark', mark: 7, family: 4 } as const };
  writeFileSync(path, `#!/bin/sh\necho "$#:$1:$2:$3:$4" > ${out}\n`);
  await runCheck(checkOf({ type: 'script', command: [path], appendTarget: true }), marked);
  expect(readFileSync(out, 'utf8')).toBe('4:7::10.0.0.5:80\n');
});

test('a huge output is read and thrown away', async () => {
  const result = await run('head -c 50000000 /dev/zero; echo; echo the end', { timeout: '20s' });
  expect(result).toMatchObject({ isGood: true, detail: 'exit code 0: the end' });
});

describe('when its time is over', () => {
  /** Process ids that the script wrote, once the files are there. */
  async function pidsIn(...names: string[]): Promise<number[]> {
    const paths = names.map((name) => join(folder, name));
    while (!paths.every((path) => existsSync(path) && readFileSync(path, 'utf8').endsWith('\n'))) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return paths.map((path) => Number(readFileSync(path, 'utf8')));
  }
  /** A process that has ended and waits for its parent counts as gone. */
  const isAlive = (pid: number) =>
    existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  async function gone(pid: number): Promise<boolean> {
    for (let i = 0; i < 1000 && isAlive(pid); i++) await new Promise((resolve) => setTimeout(resolve, 20));
    return !isAlive(pid);
  }

  test('it and all it started are killed', async () => {
    const body = `trap '' TERM; echo $$ > ${folder}/own; sleep 98 & echo $! > ${folder}/child; wait; sleep 97`;
    const result = await run(body, { timeout: '3s' });
    expect(result).toMatchObject({ isGood: false, phase: 'run', reason: 'no answer within 3s' });
    expect(result.durationMs).toBeLessThan(60_000);
    for (const pid of await pidsIn('own', 'child')) expect(await gone(pid)).toBe(true);
  });

  test('what it left behind is killed when it ends by itself, and does not hold it up', async () => {
    const result = await run(`sleep 98 & echo $! > ${folder}/child; echo done`);
    expect(result).toMatchObject({ isGood: true, detail: 'exit code 0: done' });
    expect(result.durationMs).toBeLessThan(60_000);
    const [child] = await pidsIn('child');
    expect(await gone(child!)).toBe(true);
  });

  test('one that fled into a session of its own holds nothing up', async () => {
    const result = await run(`setsid sh -c 'echo $$ > ${folder}/fled; exec sleep 98' & sleep 0.5; echo done`);
    const [fled] = await pidsIn('fled');
    process.kill(fled!, 'SIGKILL');
    expect(result).toMatchObject({ isGood: true, detail: 'exit code 0: done' });
    expect(result.durationMs).toBeLessThan(60_000);
  });
});

requires('root')('as another user', () => {
  test('it runs with the user, its group and no other', async () => {
    const result = await run('echo "$(id -u) $(id -g) $(id -G)"', { user: 'nobody' });
    const [uid, gid] = spawnSync('sh', ['-c', 'id -u nobody; id -g nobody'], {
      encoding: 'utf8',
    }).stdout.split('\n');
    expect(result).toMatchObject({ detail: `exit code 0: ${uid} ${gid} ${gid}` });
  });

  test('a group may be given beside', async () => {
    const result = await run('id -gn', { user: 'nobody', group: 'daemon' });
    expect(result).toMatchObject({ detail: 'exit code 0: daemon' });
  });
});
