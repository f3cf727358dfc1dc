import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { runInGuest } from './guest.ts';

/* A pair of IPVS moves over to ours, one director at a time: also a connection moves that is silent meanwhile. */

const root = resolve(import.meta.dirname, '../..');

requires(
  'root',
  'qemu',
  'busybox',
  'cpio',
  'xz',
  'depmod',
  'ipvsadm',
  'kernel-6.12',
)('the connections of the kernel', () => {
  it('are sent to a director of ours that comes later, idle ones too, and go on there', async () => {
    const command = ['bash', join(import.meta.dirname, 'sync-send.sh'), join(root, 'bin/headgate.js')];
    const { output, console: messages } = await runInGuest(command, { timeoutMs: 400_000 });
    expect(output.toString().trimEnd().split('\n'), `${output}\n${messages.slice(-2000)}`).toEqual([
      // Before that it lists nothing: IPVS tells of a connection when packets of it come.
      'Sent 1 connection and 1 persistence template in 1 message to 224.0.0.81 port 8848 by lan, sync id 9',
      'after TCP ASSURED 10.1.0.1 10.1.0.100:80 10.1.0.4:8000',
      'after TCP ESTABLISHED 10.1.0.1 10.1.0.100:80 10.1.0.4:8000',
      'the stream goes on',
      'This network namespace has no data plane now.',
    ]);
  }, 420_000);
});
