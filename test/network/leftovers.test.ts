import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tryLock } from '../../src/sys/lock.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { headgateLauncher, run } from '../agent/site.ts';
import { requires } from '../requirements.ts';
import { linkKinds, type Site, standUp } from './site.ts';

const runDirectory = '/run/headgate';
/** Cookies are handed out from 1 on; no namespace of this machine will have these. */
const [abandoned, atWork] = ['990000000000001', '990000000000002'];

requires(
  'root',
  'netns',
  'bpf',
)('what a command that was killed left behind', () => {
  let site: Site;
  beforeAll(async () => {
    site = await standUp('leftovers', linkKinds[0]);
  });
  afterAll(() => site?.down());

  it('is removed by the next command, unless somebody is at work there', () => {
    // Killed before the programs were attached: pins without a link, and the folder of its lock.
    for (const cookie of [abandoned, atWork]) {
      mkdirSync(join(bpffsDirectory, cookie));
      mkdirSync(join(bpffsDirectory, `${cookie}_unfinished`));
      mkdirSync(join(runDirectory, cookie), { recursive: true });
      writeFileSync(join(runDirectory, cookie, 'lock'), '');
    }
    const lock = tryLock(join(runDirectory, atWork, 'lock'));
    if (!('remove' in lock)) throw new Error('take the lock: somebody has it');
    const left = (cookie: string) =>
      [
        join(bpffsDirectory, cookie),
        join(bpffsDirectory, `${cookie}_unfinished`),
        join(runDirectory, cookie),
      ].filter(existsSync);

    site.ipvsadm('-L', '-n');
    expect(left(abandoned)).toEqual([]);
    expect(left(atWork)).toHaveLength(3);

    lock.release();
    site.ipvsadm('-L', '-n');
    expect(left(atWork)).toEqual([]);
  });

  it('is removed by a clean-up where it is a dead socket alone', async () => {
    const folders = ['990000000000003', '990000000000004', '990000000000005'].map((cookie) =>
      join(runDirectory, cookie),
    );
    const [dead, alive, more] = folders as [string, string, string];
    for (const folder of folders) mkdirSync(folder, { recursive: true });
    const listen = (folder: string) =>
      `require('node:net').createServer().listen('${folder}/control.sock', () => console.log('listens'))`;
    const daemons = await Promise.all(
      folders.map(async (folder) => {
        const daemon = spawn(process.execPath, ['-e', listen(folder)], {
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        await once(daemon.stdout, 'data');
        return daemon;
      }),
    );
    const end = async (daemon: ChildProcess | undefined) => {
      const ended = once(daemon!, 'exit');
      daemon!.kill('SIGKILL');
      await ended;
    };
    writeFileSync(join(more, 'failover.sock'), '');
    for (const i of [0, 2]) await end(daemons[i]);
    try {
      run(site.lab, 'director', process.execPath, headgateLauncher, 'clean-up');
      expect(folders.filter(existsSync)).toEqual([alive, more]);
      expect(existsSync(dead)).toBe(false);
    } finally {
      await end(daemons[1]);
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    }
  });
});
