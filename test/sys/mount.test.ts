import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { BpffsError, ensureBpffs, isBpffs, removeBpffs } from '../../src/sys/mount.ts';
import { createNamedNetns, deleteNamedNetns } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

const root = '/run/hgnet-mount';
const directory = `${root}/bpf`;
const module = new URL('../../src/sys/mount.ts', import.meta.url).href;
const mounts = () =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(directory));
/** Runs `ensureBpffs` in a process of its own, started by `launcher`, and then the shell command on its path ($1). */
function ensureBy(launcher: readonly string[], shell = 'true') {
  const script = `import { ensureBpffs } from '${module}';
    import { execFileSync } from 'node:child_process';
    const path = ensureBpffs({ directory: '${directory}' });
    process.stdout.write(path + '\\n' + execFileSync('sh', ['-ec', ${JSON.stringify(shell)}, 'sh', path], { encoding: 'utf8' }));`;
  const command = [...launcher, process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  return spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', timeout: 60_000 });
}

requires('root', 'bpf')('the BPF file system', () => {
  afterEach(() => {
    for (const _mount of mounts()) execFileSync('umount', [directory]);
    rmSync(root, { recursive: true, force: true });
  });

  it('is mounted once, for root alone, and removed', () => {
    expect(isBpffs(directory)).toBe(false);
    const path = ensureBpffs({ directory });
    expect(ensureBpffs({ directory })).toBe(path);
    expect(mounts()).toHaveLength(1);
    expect(mounts()[0]).toMatch(/ bpf rw,nosuid,nodev,noexec/);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(statSync(root).mode & 0o777).toBe(0o700);
    removeBpffs({ directory });
    expect(mounts()).toHaveLength(0);
    expect(() => removeBpffs({ directory })).not.toThrow();
  });

  it('is one when several ask at once', async () => {
    const script = `import { ensureBpffs } from '${module}'; ensureBpffs({ directory: '${directory}' });`;
    const node = `'${process.execPath}' --import tsx --input-type=module -e "${script}"`;
    const run = spawnSync('sh', ['-c', `${node} & ${node} & ${node} & wait`], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect(run.stderr).toBe('');
    expect(mounts()).toHaveLength(1);
  });

  describe('for a command in a mount namespace of its own', () => {
    beforeAll(() => createNamedNetns('hgnet-mount'));
    afterAll(() => deleteNamedNetns('hgnet-mount'));

    it('outlives the command, with what it put there', () => {
      const run = ensureBy(['ip', 'netns', 'exec', 'hgnet-mount'], 'mkdir "$1/kept"');
      expect(run.stderr).toBe('');
      expect(mounts()).toHaveLength(1);
      expect(existsSync(`${directory}/kept`)).toBe(true);
    });

    it('is found there when it was made outside', () => {
      mkdirSync(`${ensureBpffs({ directory })}/outside`);
      const run = ensureBy(['unshare', '--mount'], 'ls "$1"');
      expect(run.stdout.split('\n')).toContain('outside');
      expect(mounts()).toHaveLength(1);
    });
  });

  it('tells a missing right from a missing file system', () => {
    mkdirSync(directory, { recursive: true });
    const run = ensureBy(['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin']);
    expect(run.stderr).toContain("reason: 'not-permitted'");
    expect(run.stderr).toContain('CAP_SYS_ADMIN');
    expect(mounts()).toHaveLength(0);
    writeFileSync(`${root}/file`, '');
    let caught: unknown;
    try {
      ensureBpffs({ directory: `${root}/file/bpf` });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(BpffsError);
    expect((caught as BpffsError).reason).toBe('failed');
  });
});
