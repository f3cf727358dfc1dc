import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { acquireLock, LockHeldError, removeIdleLock, tryLock } from '../../src/sys/lock.ts';

let folder: string;
let path: string;
let other: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hgnet-lock-'));
  path = join(folder, 'sub', 'lock');
});
afterEach(() => {
  other?.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

/** flock(1) of util-linux, which knows nothing of us, holds the lock until it is killed. */
async function heldByFlock(): Promise<ChildProcess> {
  // Without forking, so that one process holds the lock.
  const child = spawn('flock', ['--no-fork', path, 'sh', '-c', 'echo held; exec sleep 60']);
  other = child;
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child;
}

describe('lock', () => {
  it('keeps flock(1) out until it is released', async () => {
    const lock = await acquireLock(path);
    const attempt = () => spawnSync('flock', ['-n', path, 'true']).status;
    expect(attempt()).toBe(1);
    lock.release();
    lock.release();
    expect(attempt()).toBe(0);
  });

  it('is held until the last of those who share it lets go, as that one says', async () => {
    const attempt = () => spawnSync('flock', ['-n', path, 'true']).status;
    const first = await acquireLock(path);
    const second = first.share();
    first.remove();
    first.remove();
    expect(attempt()).toBe(1);
    const third = second.share();
    second.release();
    expect(attempt()).toBe(1);
    third.remove();
    expect(existsSync(path)).toBe(false);
  });

  it('says who holds it', async () => {
    const lock = await acquireLock(path);
    const command = readFileSync('/proc/self/cmdline', 'utf8').split('\0')[0];
    const error = await acquireLock(path).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(LockHeldError);
    expect((error as LockHeldError).holder?.pid).toBe(process.pid);
    expect((error as LockHeldError).message).toContain(`process ${process.pid} (${command}`);
    lock.release();
  });

  it('names nobody where the holder left no name', async () => {
    (await acquireLock(path)).release();
    await heldByFlock();
    await expect(acquireLock(path)).rejects.toMatchObject({ holder: undefined });
    expect(tryLock(path)).toEqual({ holder: undefined });
  });

  it('waits for its turn, and no longer than it may', async () => {
    (await acquireLock(path)).release();
    await heldByFlock();
    const start = performance.now();
    await expect(acquireLock(path, { waitMs: 200 })).rejects.toThrow('after waiting 0.2 s');
    expect(performance.now() - start).toBeGreaterThanOrEqual(195);

    const turn = acquireLock(path, { waitMs: 10_000 });
    other?.kill('SIGKILL');
    (await turn).release();
  });

  it('stops waiting when it is told to', async () => {
    const lock = await acquireLock(path);
    const controller = new AbortController();
    const wait = acquireLock(path, { waitMs: 10_000, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 50);
    await expect(wait).rejects.toThrow(/enough|aborted/);
    lock.release();
  });

  it('is free again when its holder is killed', async () => {
    const module = new URL('../../src/sys/lock.ts', import.meta.url).href;
    const script = `import { acquireLock } from '${module}'; await acquireLock('${path}'); console.log('held'); setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
    other = child;
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(tryLock(path)).toMatchObject({ holder: { pid: child.pid } });
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    (await acquireLock(path)).release();
  });

  it('is removed with its folder, and not with what else is in there', async () => {
    (await acquireLock(path)).remove();
    expect(existsSync(dirname(path))).toBe(false);
    const lock = await acquireLock(path);
    writeFileSync(join(dirname(path), 'more'), '');
    lock.remove();
    expect(existsSync(path)).toBe(false);
    expect(existsSync(join(dirname(path), 'more'))).toBe(true);
  });

  it('once let go of, is left alone', async () => {
    const lock = await acquireLock(path);
    lock.release();
    const next = await acquireLock(path);
    lock.remove();
    lock.release();
    expect(tryLock(path)).toMatchObject({ holder: { pid: process.pid } });
    next.remove();
  });

  it('is not got on a file that was removed meanwhile', async () => {
    (await acquireLock(path)).release();
    const child = await heldByFlock();
    const turn = acquireLock(path, { waitMs: 10_000 });
    rmSync(path);
    (await turn).remove();
    child.kill('SIGKILL');
  });

  it('is removed where nobody holds it, as a killed process leaves it', async () => {
    expect(removeIdleLock(path)).toBe(true);
    expect(existsSync(dirname(path))).toBe(false);
    (await acquireLock(path)).release();
    const child = await heldByFlock();
    expect(removeIdleLock(path)).toBe(false);
    expect(existsSync(path)).toBe(true);
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    expect(removeIdleLock(path)).toBe(true);
    expect(existsSync(dirname(path))).toBe(false);
  });

  it('has one holder at a time while every holder removes it', async () => {
    const module = new URL('../../src/sys/lock.ts', import.meta.url).href;
    // mkdir(2) fails where the folder is there: a second holder at the same time would end with an error.
    const script = `import { tryLock } from '${module}'; import { mkdirSync, rmdirSync } from 'node:fs';
      for (let turn = 0; turn < 100; turn++) {
        let lock;
        do lock = tryLock('${path}'); while (!('release' in lock));
        mkdirSync('${folder}/inside'); rmdirSync('${folder}/inside');
        if (turn % 3) lock.remove(); else lock.release();
      }`;
    const runs = Array.from({ length: 3 }, async () => {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
      let errors = '';
      child.stderr.on('data', (text) => {
        errors += text;
      });
      const status = await new Promise((resolve) => child.once('exit', resolve));
      return { status, errors };
    });
    expect(await Promise.all(runs)).toEqual(Array(3).fill({ status: 0, errors: '' }));
  });
});
