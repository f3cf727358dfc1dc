import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { configuration } from './network.ts';
import { launchers, openSite, type Site } from './site.ts';

const packaging = resolve(import.meta.dirname, '../../packaging');
const units = ['headgate', 'headgate-agent', 'headgate-load-agent', 'headgate-ipvsadm'].map((name) =>
  join(packaging, `${name}.service`),
);

requires('systemd')('the units', () => {
  it('are taken by systemd without a word', () => {
    for (const unit of units) {
      const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit], {
        encoding: 'utf8',
      });
      // What systemd says of units that other packages brought is not about ours.
      const aboutOurs = stderr.replace(/^(\/usr)?\/lib\/systemd\/system\/.*\n/gm, '');
      expect({ unit, status, stdout, aboutOurs }).toEqual({ unit, status: 0, stdout: '', aboutOurs: '' });
    }
  });
});

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('the daemon with no more than its unit gives it', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
    site.write(configuration);
  });
  afterEach(() => site.close());

  it('has the capabilities it needs, and leaves its pins outside of its own mounts', async () => {
    const unit = readFileSync(units[0]!, 'utf8');
    const names = /^CapabilityBoundingSet=(.+)$/m.exec(unit)![1]!.split(' ');
    const bounding = ['-all', ...names.map((name) => `+${name.slice('CAP_'.length).toLowerCase()}`)].join(
      ',',
    );
    const readOnly = 'mount --rbind /run /run && mount -o remount,bind,ro / && exec "$@"';
    const daemon = spawn(
      'ip',
      [
        ...['netns', 'exec', site.netns, 'unshare', '--mount', '--propagation', 'slave'],
        ...['sh', '-c', readOnly, 'sh', 'setpriv', '--bounding-set', bounding, '--inh-caps', bounding],
        ...['--no-new-privs', process.execPath, launchers.headgate, 'run', site.file],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HEADGATE_CONNECTIONS: '4096' } },
    );
    let log = '';
    let told = false;
    daemon.stderr!.on('data', (text) => {
      log += text;
      // Once: a second signal ends the daemon at once.
      if (told || !/info running/.test(log)) return;
      told = true;
      daemon.kill('SIGTERM');
    });
    const [status] = await once(daemon, 'close');
    expect({ status, log }).toMatchObject({ status: 0, log: expect.stringMatching(/info running/) });
    expect(site.rules()).toHaveLength(2);
  });
});
