import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tryLock } from '../../src/sys/lock.ts';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  netnsCookie,
  netnsPath,
  runInNetns,
  withNetns,
} from '../../src/sys/netns.ts';
import { headgateLauncher, run } from '../agent/site.ts';
import { requires } from '../requirements.ts';
import { launcher, linkKinds, type Site, standUp } from './site.ts';

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

  it('is removed by a clean-up where nothing but dead sockets is left', async () => {
    const folders = ['3', '4', '5', '6'].map((last) => join(runDirectory, `99000000000000${last}`));
    const [dead, alive, both, more] = folders as [string, string, string, string];
    for (const folder of folders) mkdirSync(folder, { recursive: true });
    const listen = (path: string) =>
      `require('node:net').createServer().listen('${path}', () => console.log('listens'))`;
    const sockets = [...folders.map((folder) => join(folder, 'control.sock')), join(both, 'failover.sock')];
    const daemons = await Promise.all(
      sockets.map(async (path) => {
        const daemon = spawn(process.execPath, ['-e', listen(path)], {
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
    writeFileSync(join(more, 'agent.json'), '');
    for (const i of [0, 2, 3]) await end(daemons[i]);
    const cleanUp = () => run(site.lab, 'director', process.execPath, headgateLauncher, 'clean-up');
    try {
      cleanUp();
      // The failover process outlives its daemon.
      expect(folders.filter(existsSync)).toEqual([alive, both, more]);
      await end(daemons[4]);
      cleanUp();
      expect(folders.filter(existsSync)).toEqual([alive, more]);
      expect(existsSync(dead)).toBe(false);
    } finally {
      await end(daemons[1]);
      for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    }
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('a network namespace in which no rule was ever made', () => {
  const netns = `hgbare-${process.pid}`;
  beforeAll(() => createNamedNetns(netns));
  afterAll(() => deleteNamedNetns(netns));

  it('has no folder after ipvsadm -C', () => {
    const cookie = String(withNetns(netnsPath(netns), netnsCookie));
    expect(runInNetns(netns, process.execPath, [launcher, '-C'])).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(join(runDirectory, cookie))).toBe(false);
  });
});

requires(
  'root',
  'netns',
  'bpf',
  'netns-handle',
)('what an agent recorded', () => {
  const names = [`hgleft1-${process.pid}`, `hgleft2-${process.pid}`, `hgleft3-${process.pid}`] as const;
  beforeAll(() => names.forEach(createNamedNetns));
  afterAll(() => names.forEach(deleteNamedNetns));

  it('goes with the next start anywhere when its namespace is gone, and not before', () => {
    const [gone, there, other] = names;
    const folderOf = (name: string) => join(runDirectory, String(withNetns(netnsPath(name), netnsCookie)));
    const agent = (name: string, ...words: string[]) =>
      expect(runInNetns(name, process.execPath, [headgateLauncher, 'agent', ...words])).toMatchObject({
        status: 0,
      });
    const folders = names.map(folderOf);
    agent(gone, 'up', '--method', 'direct-routing', '--vip', '192.0.2.1');
    agent(there, 'up', '--method', 'direct-routing', '--vip', '192.0.2.1');
    agent(other, 'up', '--method', 'direct-routing', '--vip', '192.0.2.1');
    expect(folders.filter(existsSync)).toEqual(folders);
    deleteNamedNetns(gone);
    agent(other, 'up', '--method', 'direct-routing', '--vip', '192.0.2.2');
    expect(folders.map(existsSync)).toEqual([false, true, true]);
    agent(there, 'down');
    agent(other, 'down');
    expect(folders.filter(existsSync)).toEqual([]);
  });
});
