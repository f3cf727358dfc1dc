import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

requires(
  'root',
  'qemu',
  'busybox',
  'cpio',
  'xz',
  'depmod',
  'kernel-6.12',
)('a guest', () => {
  it('runs a command as root on the guest kernel, with the host files and without touching them', async () => {
    const trace = join(tmpdir(), `headgate-guest-trace-${process.pid}`);
    const script = `uname -r; id -u; modprobe ip_vs && head -1 /proc/net/ip_vs; echo "$WORD" >${trace} && cat ${trace}; pwd; exit 7`;
    const result = await runInGuest(['bash', '-c', script], { cwd: '/usr', env: { WORD: "it's here" } });
    const [release, user, title, word, folder] = result.output.toString().split('\n');
    expect(result.status, result.console).toBe(7);
    expect(release).toBe(result.kernelRelease);
    expect(release).toMatch(/^6\.12\./);
    expect([user, word, folder]).toEqual(['0', "it's here", '/usr']);
    expect(title).toMatch(/^IP Virtual Server version 1\.2\.1 \(size=\d+\)$/);
    expect(existsSync(trace)).toBe(false);
  }, 300_000);
});
