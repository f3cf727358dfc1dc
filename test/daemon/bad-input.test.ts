import { spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { launchers, openSite, type Site } from './site.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-bad-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('headgate validate', () => {
  const validate = (file: string) => {
    const words = [launchers.headgate, 'validate', file];
    const { status, stdout } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    return { status, stdout };
  };

  it('refuses 100 MB without reading them', () => {
    const file = join(folder, 'large.yaml');
    writeFileSync(file, 'dataPlane: auto\n');
    truncateSync(file, 100 * 1024 * 1024);
    const words = [launchers.headgate, 'validate', file];
    // Memory for 100 MB of text is not there.
    const { status, stdout } = spawnSync(process.execPath, ['--max-old-space-size=40', ...words], {
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({
      status: 1,
      stdout: expect.stringContaining(`file "${file}": wanted at most 4 MiB, found more`),
    });
  });

  it.each<[string, string, string]>([
    ['a circle of files', 'include: [h.yaml]', 'a circle, it includes'],
    ['a tab', 'timeouts:\n\ttcp: 5m', 'indentation: wanted spaces, found a tab'],
    ['a key given twice', 'own: true\nown: false', 'key "own": given in line 1 already'],
    ['an unknown key', 'onw: true', 'did you mean "own"?'],
    [
      'services that overlap',
      'virtualServices: [{ name: a, address: 192.0.2.1:80 }, { name: b, address: 192.0.2.1:80/tcp }]',
      'virtual service "a" has it already, ',
    ],
  ])('tells %s with its place, in one mistake', (_, text, message) => {
    const file = join(folder, 'h.yaml');
    writeFileSync(file, `${text}\n`);
    const { status, stdout } = validate(file);
    expect(status).toBe(1);
    expect(stdout).toContain(message);
    expect(stdout).toMatch(/h\.yaml:\d+:\d+: /);
    expect(stdout).toMatch(/: 1 mistake\n$/);
  });
});

const configuration = (...weights: number[]) =>
  weights
    .map(
      (weight, i) =>
        `  - { name: s${i}, address: 192.0.2.${i + 1}:80, scheduler: rr, method: masquerade, realServers: [{ address: 10.0.0.${i + 1}:80, weight: ${weight} }] }\n`,
    )
    .reduce((text, line) => text + line, 'virtualServices:\n');
const rules = (...weights: number[]) =>
  weights.flatMap((weight, i) => [
    `-A -t 192.0.2.${i + 1}:80 -s rr`,
    `-a -t 192.0.2.${i + 1}:80 -r 10.0.0.${i + 1}:80 -m -w ${weight}`,
  ]);

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('a host that is not as it should be', () => {
  let site: Site;
  const mounted: string[] = [];
  const mount = (path: string, ...words: string[]) => {
    const { status, stderr } = spawnSync('mount', [...words, path], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    mounted.push(path);
  };
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => {
    for (const path of mounted.splice(0).reverse()) spawnSync('umount', [path]);
    site.close();
  });

  it('with a virtual address on no interface: said with the command that mends it, and done all the same', () => {
    site.write(configuration(1));
    const warning = 'the virtual address 192.0.2.1 is on no interface of this host';
    const planned = site.run('headgate', 'plan', site.file);
    expect(planned).toMatchObject({ status: 0, stderr: expect.stringContaining(warning) });
    const fix = /next: (ip address add .*) \(/.exec(planned.stderr)![1]!;
    expect(site.run('headgate', 'apply', site.file).stderr).toContain(warning);
    expect(site.rules()).toEqual(rules(1));
    site.write('virtualServices: []');
    site.run('headgate', 'apply', '--yes', site.file);
    spawnSync('ip', ['-n', site.netns, 'link', 'set', 'lo', 'up']);
    expect(spawnSync('ip', ['netns', 'exec', site.netns, ...fix.split(' ')]).status).toBe(0);
    site.write(configuration(1));
    expect(site.run('headgate', 'plan', site.file)).toMatchObject({ status: 0, stderr: '' });
  });

  const refused = (found: string, command: string) => {
    const plane = join(dirname(site.socket), 'plane');
    site.write(configuration(3, 4, 5));
    const { status, stderr } = site.run('headgate', 'apply', site.file);
    expect(stderr).toContain(`Cannot write "${plane}/applied.json"`);
    expect(stderr).toContain(`${found} [HG_STATE]`);
    expect(stderr).toContain(command);
    expect(status).toBe(1);
    expect(site.rules()).toEqual(rules(1, 2));
  };

  it('with a full file system for its state: nothing is changed, and the file is named', () => {
    site.write(configuration(1, 2));
    expect(site.run('headgate', 'apply', site.file).status).toBe(0);
    const plane = join(dirname(site.socket), 'plane');
    const before = spawnSync('cat', [join(plane, 'applied.json')], { encoding: 'utf8' }).stdout;
    mount(plane, '-t', 'tmpfs', '-o', 'size=16k', 'none');
    writeFileSync(join(plane, 'applied.json'), before);
    const filler = join(plane, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(1 << 20));
    } catch {
      // It takes what there is room for.
    }
    refused('no room on its file system', `df -h ${plane}`);
    // What was there is still there, and with room all goes on.
    expect(spawnSync('ls', [plane], { encoding: 'utf8' }).stdout).toBe('applied.json\nfiller\n');
    rmSync(filler);
    expect(site.run('headgate', 'apply', site.file).status).toBe(0);
    expect(site.rules()).toEqual(rules(3, 4, 5));
  });

  it('with a read-only file system for its state: the same', () => {
    site.write(configuration(1, 2));
    expect(site.run('headgate', 'apply', site.file).status).toBe(0);
    const plane = join(dirname(site.socket), 'plane');
    mount(plane, '--bind', plane);
    mount(plane, '-o', 'remount,ro,bind');
    refused('a file system that is mounted read-only', 'findmnt -T');
  });

  it('a daemon on a full file system keeps what was in force, and takes the file when there is room', async () => {
    const plane = join(dirname(site.socket), 'plane');
    site.write(configuration(1, 2));
    const daemon = await site.start();
    const text = spawnSync('cat', [join(plane, 'applied.json')], { encoding: 'utf8' }).stdout;
    mount(plane, '-t', 'tmpfs', '-o', 'size=16k', 'none');
    writeFileSync(join(plane, 'applied.json'), text);
    const filler = join(plane, 'filler');
    expect(() => writeFileSync(filler, Buffer.alloc(1 << 20))).toThrow('ENOSPC');
    site.write(configuration(3, 4, 5));
    await daemon.logged(/error configuration not in force.*applied\.json.*no room on its file system/);
    expect(site.rules()).toEqual(rules(1, 2));
    rmSync(filler);
    expect(site.run('headgate', 'reload')).toMatchObject({ status: 0 });
    expect(site.rules()).toEqual(rules(3, 4, 5));
    await daemon.end('SIGTERM');
  });

  it('with somebody else behind the control socket: he is told nothing', async () => {
    site.write(configuration(1));
    const theirs = join(folder, 'theirs');
    mkdirSync(theirs);
    const path = join(theirs, 'control.sock');
    let asked = 0;
    const server = createServer(() => asked++);
    await new Promise<void>((done) => server.listen(path, done));
    const run = () =>
      spawnSync(process.execPath, [launchers.headgate, 'reload'], {
        encoding: 'utf8',
        env: { ...process.env, HEADGATE_SOCKET: path },
      });
    const refused = (found: RegExp) => {
      const { status, stderr } = run();
      expect(stderr).toMatch(found);
      expect(stderr).toContain('[HG_SOCKET]');
      expect(status).toBe(1);
    };
    try {
      chownSync(path, 65534, 65534);
      refused(/wanted a socket of root or of user 0, found one of user 65534/);
      chownSync(path, 0, 0);
      chownSync(theirs, 65534, 65534);
      refused(/wanted a folder of root or of user 0, found one of user 65534/);
      chownSync(theirs, 0, 0);
      spawnSync('chmod', ['777', theirs]);
      refused(/wanted a folder that only its owner may write/);
      expect(asked).toBe(0);
    } finally {
      server.close();
    }
    expect(existsSync(path)).toBe(false);
  });
});
