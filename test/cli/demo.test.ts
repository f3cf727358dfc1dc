import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { copyProduct, unprivileged } from './copy.ts';

let copy: string;
beforeAll(() => {
  copy = copyProduct();
});
afterAll(() => rmSync(copy, { recursive: true }));

/** Runs `headgate demo`, behind another command that takes something away from it. */
function demo(behind: readonly string[], args: readonly string[] = [], nodeArgs: readonly string[] = []) {
  const headgate = [process.execPath, ...nodeArgs, join(copy, 'bin/headgate.js'), 'demo', ...args];
  const [program, ...rest] = [...behind, ...headgate] as [string, ...string[]];
  const { status, stdout, stderr } = spawnSync(program, rest, {
    encoding: 'utf8',
    timeout: 60_000,
    cwd: '/',
  });
  return { status, stdout, stderr };
}

/** The counts are the schedulers': wrr gives 60 connections by 3:2:1, rr evenly. */
function expectProxyRun({ status, stdout, stderr }: ReturnType<typeof demo>, because: RegExp): void {
  expect(stderr).toBe('');
  const lines = stdout.split('\n');
  const why = lines.find((line) => line.startsWith('Running on the proxy data plane'));
  expect(why).toMatch(because);
  expect(stdout).toMatch(/^director {2}process \d+ {3}proxy data plane/m);
  const split = [...stdout.matchAll(/rs\d {2}127\.0\.0\.1:\d+ +weight (\d) .*\/s +(\d+) +(\d+) %/g)];
  expect(split.map(([, weight, served]) => [Number(weight), Number(served)])).toEqual([
    ...[
      [3, 30],
      [2, 20],
      [1, 10],
    ],
    ...[
      [1, 20],
      [1, 20],
      [1, 20],
    ],
  ]);
  expect(stdout).toContain('As it should be');
  expect(status).toBe(0);
}

const powerless = ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all'];

/** Has the kernel answer EPERM to one system call of x86-64, as a container's seccomp profile does. */
const refusing = (callNumber: number) => [
  'perl',
  '-e',
  // prctl(PR_SET_NO_NEW_PRIVS); prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER): load the number, compare, EPERM or allow.
  `my $f = join '', map { pack 'SCCL', @$_ } [0x20,0,0,0], [0x15,0,1,${callNumber}], [6,0,0,0x50001], [6,0,0,0x7fff0000];
   syscall(157, 38, 1, 0, 0, 0) == 0 && syscall(157, 22, 2, pack('Sx6P', 4, $f)) == 0 or die "seccomp: $!";
   exec @ARGV`,
];
const [unshareCall, bpfCall] = [272, 321];

requires(
  'root',
  'netns',
  'bpf',
)('The demonstration, where the kernel may not be programmed', () => {
  test.each([
    ['for an ordinary user', unprivileged],
    ['for root without capabilities', powerless],
  ])('forwards in this process %s', (_who, behind) => {
    expectProxyRun(demo(behind), /because the kernel refuses BPF programs \(EPERM\); .*root/);
  });

  test.runIf(process.arch === 'x64')('forwards in this process where seccomp refuses bpf(2)', () => {
    expectProxyRun(
      demo(refusing(bpfCall)),
      /because the kernel refuses BPF programs \(EPERM\); .*--privileged/,
    );
  });

  test.runIf(process.arch === 'x64')('forwards in this process where seccomp refuses unshare(2)', () => {
    expectProxyRun(
      demo(refusing(unshareCall)),
      /because a network namespace cannot be made \(.*EPERM.*--privileged/,
    );
  });

  test('--data-plane ebpf is an error that says what is missing', () => {
    expect(demo(unprivileged, ['--data-plane', 'ebpf'])).toEqual({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(
        /^headgate: Cannot run .* ebpf data plane: the kernel refuses BPF programs \(EPERM\) \[HG_NOT_ROOT\]\n {2}next: .*sudo/,
      ),
    });
  });

  test('--data-plane proxy takes it where ebpf could be had', () => {
    const { status, stdout } = demo([], ['--data-plane', 'proxy']);
    expect(stdout).not.toContain('because');
    expect(stdout).toContain('proxy data plane, forwards in this process');
    expect(status).toBe(0);
  });

  test('leaves nothing when the signal to end comes twice, as timeout(1) sends it', async () => {
    const child = spawn(process.execPath, [join(copy, 'bin/headgate.js'), 'demo'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (more) => {
      const isBefore = !text.includes('Configuring');
      text += more;
      if (!isBefore || !text.includes('Configuring')) return;
      child.kill('SIGINT');
      setTimeout(() => child.kill('SIGINT'), 300);
    });
    const [status] = await once(child, 'close');
    expect({ status, text }).toMatchObject({
      status: 130,
      text: expect.stringMatching(/Removed everything the demonstration made\n$/),
    });
  });

  test('--data-plane auto takes ebpf where it can be had', () => {
    const { status, stdout } = demo([]);
    expect(stdout).toContain('ebpf data plane, forwards in the kernel');
    expect(status).toBe(0);
  });
});

describe('The demonstration on another system than Linux', () => {
  /** What such a system is for us: its name, and no foreign function interface to Linux. */
  const elsewhere = `Object.defineProperty(process, 'platform', { value: 'darwin' });
    const { Module } = require('node:module');
    const load = Module._load;
    Module._load = (name, ...rest) => {
      if (/koffi/.test(name)) throw new Error('loaded ' + name);
      return load(name, ...rest);
    };`;
  let preload: string[];
  beforeAll(() => {
    writeFileSync(join(copy, 'elsewhere.cjs'), elsewhere);
    preload = ['--require', join(copy, 'elsewhere.cjs')];
  });

  test('forwards in this process, and does not look for the kernel', () => {
    expectProxyRun(demo([], [], preload), /because it needs Linux and this is darwin; /);
  });

  test('refuses ebpf', () => {
    const { status, stderr } = demo([], ['--data-plane', 'ebpf'], preload);
    expect(stderr).toContain('it needs Linux and this is darwin [HG_NO_BPF]');
    expect(status).toBe(1);
  });
});

test('The demonstration forwards in this process where the library that calls the kernel does not load', () => {
  writeFileSync(
    join(copy, 'unloadable.cjs'),
    `const { Module } = require('node:module');
     const load = Module._load;
     Module._load = (name, ...rest) => {
       if (/koffi/.test(name)) throw new Error('Cannot find the native Koffi module\\nmore');
       return load(name, ...rest);
     };`,
  );
  expectProxyRun(
    demo([], [], ['--require', join(copy, 'unloadable.cjs')]),
    /because the library that calls the kernel does not load \(Cannot find the native Koffi module\); /,
  );
});
