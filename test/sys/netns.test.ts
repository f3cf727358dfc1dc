import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { setLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import {
  createNamedNetns,
  deleteNamedNetns,
  listNamedNetns,
  netnsCookie,
  netnsInode,
  netnsPath,
  processesInNetns,
  runInNetns,
  spawnInNetns,
  withNetns,
} from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

const name = 'hgnet-ns';
const own = () => readlinkSync('/proc/thread-self/ns/net');
const ended = (child: ReturnType<typeof spawn>) =>
  new Promise<[number | null, string | null]>((resolve) => {
    child.once('exit', (code, signal) => resolve([code, signal]));
  });

requires(
  'root',
  'netns',
  'ip',
)('network namespaces', () => {
  beforeAll(() => createNamedNetns(name));
  afterAll(() => deleteNamedNetns(name));

  it('are those of ip netns, both ways', () => {
    const listed = () => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
    expect(listed()).toMatch(new RegExp(`^${name}\\b`, 'm'));
    expect(listNamedNetns()).toContain(name);
    const inside = execFileSync('ip', ['netns', 'exec', name, 'readlink', '/proc/self/ns/net'], {
      encoding: 'utf8',
    });
    expect(inside.trim()).toBe(`net:[${netnsInode(netnsPath(name))}]`);

    execFileSync('ip', ['netns', 'add', `${name}-theirs`]);
    expect(withNetns(netnsPath(`${name}-theirs`), own)).not.toBe(own());
    deleteNamedNetns(`${name}-theirs`);
    expect(listed()).not.toContain(`${name}-theirs`);
    createNamedNetns(`${name}-ours`);
    execFileSync('ip', ['netns', 'del', `${name}-ours`]);
    expect(existsSync(netnsPath(`${name}-ours`))).toBe(false);
  });

  it('refuses a name that is taken or is no file name', () => {
    expect(() => createNamedNetns(name)).toThrow(/EEXIST/);
    expect(existsSync(netnsPath(name))).toBe(true);
    for (const bad of ['', '.', '..', 'a/b']) expect(() => createNamedNetns(bad)).toThrow(RangeError);
    expect(() => deleteNamedNetns('hgnet-never-was')).not.toThrow();
  });

  it('leaves the caller where it was, also after an error', () => {
    const before = own();
    expect(() =>
      withNetns(netnsPath(name), () => {
        throw new Error('from inside');
      }),
    ).toThrow('from inside');
    expect(own()).toBe(before);
    expect(() => withNetns(netnsPath(name), async () => undefined)).toThrow('synchronous');
    expect(() => withNetns('/run/netns/hgnet-never-was', own)).toThrow(/ENOENT/);
    expect(own()).toBe(before);
  });

  it('has a cookie of its own that outlives nothing', () => {
    const inside = withNetns(netnsPath(name), netnsCookie);
    expect(inside).not.toBe(netnsCookie());
    expect(withNetns(netnsPath(name), netnsCookie)).toBe(inside);
    createNamedNetns(`${name}-2`);
    const second = withNetns(netnsPath(`${name}-2`), netnsCookie);
    deleteNamedNetns(`${name}-2`);
    createNamedNetns(`${name}-2`);
    expect(withNetns(netnsPath(`${name}-2`), netnsCookie)).not.toBe(second);
    deleteNamedNetns(`${name}-2`);
  });

  it('runs a process inside, with its output and exit status', () => {
    const run = runInNetns(name, 'sh', ['-c', 'readlink /proc/self/ns/net; cat; exit 7'], { input: 'in' });
    expect(run.status).toBe(7);
    expect(run.stdout).toBe(`net:[${netnsInode(netnsPath(name))}]\nin`);
    expect(runInNetns(name, 'sleep', ['9'], { timeoutMs: 100 }).signal).toBe('SIGTERM');
  });

  it('starts a process inside that is a child like any other', async () => {
    const child = spawnInNetns(name, 'sleep', ['60']);
    expect(processesInNetns(netnsPath(name))).toEqual([child.pid]);
    expect(readFileSync(`/proc/${child.pid}/comm`, 'utf8')).toBe('sleep\n');
    expect(readFileSync(`/proc/${child.pid}/status`, 'utf8')).toMatch(
      new RegExp(`^PPid:\\s${process.pid}$`, 'm'),
    );
    const end = ended(child);
    child.kill('SIGTERM');
    expect(await end).toEqual([null, 'SIGTERM']);
    expect(existsSync(`/proc/${child.pid}`)).toBe(false);
    expect(await ended(spawnInNetns(name, 'sh', ['-c', 'exit 3']))).toEqual([3, null]);
  });

  it('reports a program that does not exist, and stays at home', async () => {
    const before = own();
    const error = await new Promise((resolve) => {
      spawnInNetns(name, '/no/such/program', []).once('error', resolve);
    });
    expect(error).toMatchObject({ code: 'ENOENT' });
    expect(own()).toBe(before);
    expect(await ended(spawn('readlink', ['/proc/self/ns/net'], { stdio: 'ignore' }))).toEqual([0, null]);
  });

  it('leaks no descriptor', () => {
    const count = () => readdirSync('/proc/self/fd').length;
    const before = count();
    for (let i = 0; i < 50; i++)
      withNetlink({ netns: netnsPath(name) }, (netlink) => setLink(netlink, 1, { up: true }));
    expect(count()).toBe(before);
  });
});
