import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { openSite, type Site } from './site.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('the end of a daemon that runs a keepalived.conf with omega', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
    const file = join(site.folder, 'keepalived.conf');
    // 10.0.0.12 is down, as alpha has it, and nobody finds it up.
    writeFileSync(
      file,
      `virtual_server 192.0.2.10 80 {
  lvs_sched rr
  lvs_method NAT
  omega
  quorum_down "/bin/sh -c 'sleep 0.3; echo quorum >> ${told()}'"
  real_server 10.0.0.11 80 {
    notify_down "/bin/sh -c 'sleep 3; echo web1 >> ${told()}'"
  }
  real_server 10.0.0.12 80 {
    notify_down "/bin/sh -c 'echo web2 >> ${told()}'"
    TCP_CHECK {
      alpha
      delay_loop 60
    }
  }
}
virtual_server 192.0.2.10 25 {
  lvs_sched rr
  lvs_method NAT
  quorum_down "/bin/sh -c 'echo mail >> ${told()}'"
  real_server 10.0.0.11 25 {
  }
}
`,
    );
    site.write(`include: [${file}]\n`);
  });
  afterEach(() => site.close());
  const told = () => join(site.folder, 'told');

  it('with forwarding gone: the programs are run to their end, the quorum last', async () => {
    const daemon = await site.start({}, '--stop-forwarding');
    expect(await daemon.end('SIGTERM')).toBe(0);
    expect(readFileSync(told(), 'utf8')).toBe('web1\nquorum\n');
  });

  it('with forwarding left in place: nobody is down', async () => {
    const daemon = await site.start();
    expect(await daemon.end('SIGTERM')).toBe(0);
    expect(existsSync(told())).toBe(false);
  });
});
