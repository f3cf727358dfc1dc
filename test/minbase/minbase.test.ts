import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { type Machine, startMachine } from './tree.ts';

requires(
  'root',
  'netns',
  'bpf',
  'debootstrap',
  'git',
)('On a Debian that has nothing but node and npm', () => {
  let machine: Machine;

  beforeAll(async () => {
    machine = await startMachine();
  }, 700_000);

  afterAll(async () => {
    await machine?.close();
    const mounts = readFileSync('/proc/self/mounts', 'utf8');
    expect(mounts).not.toContain('minbase');
  });

  test('there is no compiler, no iproute2 and no library of ours', () => {
    const tools = ['clang', 'gcc', 'ip', 'tc', 'nft', 'bpftool', 'ipvsadm', 'git', 'python3'];
    const found = machine.run(['sh', '-c', `command -v ${tools.join(' ')}; ls /usr/lib/*/libbpf*`], {
      as: 'root',
      timeoutMs: 10_000,
    });
    expect(found.stdout).toBe('');
  });

  test('npm ci installs', () => {
    const installed = machine.run(['npm', 'ci', '--prefer-offline', '--no-audit', '--no-fund'], {
      as: 'root',
      timeoutMs: 300_000,
    });
    expect(installed).toMatchObject({ exitCode: 0 });
  }, 310_000);

  test('npm start forwards through the ebpf plane and leaves nothing behind', () => {
    // What the kernel has pinned while it runs says which plane forwards; the kernel has no other way here.
    const watch = `npm start >out 2>&1 & pid=$!
      while kill -0 $pid 2>/dev/null; do find /run/headgate/bpf 2>/dev/null; sleep 0.3; done | sort -u >pins
      wait $pid; code=$?; cat out; exit $code`;
    const started = machine.run(['sh', '-c', watch], { as: 'root', timeoutMs: 90_000 });
    expect(started, started.stdout).toMatchObject({ exitCode: 0 });
    for (const server of ['rs1', 'rs2', 'rs3']) expect(started.stdout).toContain(server);
    expect(started.stdout).toMatch(
      /^director {2}hg-demo-director {3}ebpf data plane, forwards in the kernel$/m,
    );
    const pins = machine.run(['cat', 'pins'], { as: 'root', timeoutMs: 10_000 }).stdout;
    expect(pins).toMatch(/\/program_\w+$/m);
    expect(pins).toMatch(/\/link_\w+$/m);
    const left = machine.run(['find', '/run/headgate', '/run/netns', '-mindepth', '1'], {
      as: 'root',
      timeoutMs: 10_000,
    });
    // The BPF file system stays mounted; in an empty one are the kernel's own files.
    const ours = left.stdout.split('\n').filter((path) => path !== '' && !/\/bpf$|\.debug$/.test(path));
    expect(ours).toEqual([]);
  });

  test.each([
    ['uid 0 without capabilities', 'powerless'],
    ['an ordinary user', 'user'],
  ] as const)('npm start forwards without the kernel for %s, and says in one line why', (_who, as) => {
    machine.run(['chown', '-R', as === 'user' ? '1000' : '0', '.'], { as: 'root', timeoutMs: 60_000 });
    const started = machine.run(['npm', 'start', '--silent'], { as, timeoutMs: 90_000 });
    expect(started).toMatchObject({ exitCode: 0 });
    expect(started.stderr).toBe('');
    expect(started.stdout.split('\n')[0]).toMatch(
      /^Running on the proxy data plane, .* because .*(EPERM|EACCES).*root/,
    );
    expect(started.stdout).toContain('As it should be');
  });

  test('npm test passes for an ordinary user and ends with what was left out, why, and how to add it', () => {
    const tested = machine.run(['npm', 'test'], { as: 'user', timeoutMs: 600_000 });
    expect(tested, fromFirstFailure(tested.stdout + tested.stderr)).toMatchObject({ exitCode: 0 });
    const lines = tested.stdout.trimEnd().split('\n');
    expect(lines.at(-1)).toMatch(/^\d+ passed, 0 failed, [1-9]\d* skipped$/);
    expect(tested.stdout).toContain('Left out on this machine:');
    expect(tested.stdout).toMatch(/^ {2}root .* tests {2}/m);
    expect(tested.stdout).toMatch(
      /^ {2}sudo sh -c 'apt-get update && apt-get install .*debootstrap.* && npm test'$/m,
    );
  }, 610_000);
});

/** What vitest printed from its list of failures on, to be read by whoever mends them. */
function fromFirstFailure(printed: string): string {
  const at = printed.indexOf('FAIL');
  return at < 0 ? printed.slice(-3000) : printed.slice(at, at + 5000);
}
