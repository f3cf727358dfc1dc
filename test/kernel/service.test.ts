import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

const root = resolve(import.meta.dirname, '../..');
const rules = (scheduler: string) =>
  `rules: -A -t 192.0.2.10:80 -s ${scheduler} -a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1`;
const status = (generation: number) =>
  `status: Generation ${generation} of /etc/headgate/headgate.yaml: 1 virtual services, data plane ebpf`;

requires(
  'root',
  'qemu',
  'busybox',
  'cpio',
  'xz',
  'depmod',
  'systemd',
  'kernel-6.12',
)('the unit under systemd', () => {
  it('starts, reloads, restarts, is started again when it hangs, and leaves forwarding when it stops', async () => {
    const command = ['bash', join(import.meta.dirname, 'service.sh'), root];
    const { output, console: messages } = await runInGuest(command, { series: '6.12', timeoutMs: 840_000 });
    const [results] = output.toString().split('--\n');
    expect(results!.trimEnd().split('\n'), `${output}\n${messages.slice(-2000)}`).toEqual([
      'start: done',
      status(1),
      rules('rr'),
      'pins: 1',
      'reload: done',
      rules('wlc'),
      'reload of a mistake: failed',
      `${status(2)}; the file as it is now is not in force: Cannot use "/etc/headgate/headgate.yaml": 1 mistake`,
      'restart: done',
      'hung: restarted',
      'stop: done',
      rules('wlc'),
      expect.stringMatching(/^journal: [1-9]/),
    ]);
  }, 900_000);
});
