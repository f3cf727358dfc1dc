import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { loadInstance, loadInstanceAside } from '../../src/dataplane/ebpf/create.ts';
import { requires } from '../requirements.ts';

requires('root', 'bpf')('loading a program that takes the verifier long', () => {
  it('is not cut short by signals', async () => {
    let heard = 0;
    const first = new Promise<void>((resolve) => {
      process.on('SIGUSR2', () => {
        heard++;
        resolve();
      });
    });
    const sender = spawn('sh', ['-c', `while kill -USR2 ${process.pid}; do :; done`], { stdio: 'ignore' });
    try {
      await first;
      const sizes = { connections: 1024, mhTableIndex: 12 };
      loadInstance(sizes, []).close();
      (await loadInstanceAside(sizes)).close();
      const before = heard;
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(heard, 'those that were held back arrive').toBeGreaterThan(before);
    } finally {
      sender.kill();
      await once(sender, 'exit');
      process.removeAllListeners('SIGUSR2');
    }
  });
});
