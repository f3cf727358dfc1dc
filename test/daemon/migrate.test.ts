import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { openSite, type Site } from './site.ts';

const configuration = `
virtualServices:
  - name: web
    address: 192.0.2.10:80
    method: masquerade
    realServers: [{ name: web1, address: 10.0.0.11:80 }]
`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('a move between data planes', () => {
  let site: Site;

  beforeEach(() => {
    site = openSite('move');
    site.write(configuration);
  });
  afterEach(() => site.close());

  it('is refused while a daemon holds the plane, with what to do', async () => {
    const daemon = await site.start();
    const { status, stdout, stderr } = site.run('headgate', 'migrate', 'ebpf-to-ipvs', '--yes', '-o', 'json');
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    const { error } = JSON.parse(stderr) as { error: Record<string, string> };
    expect(error.code).toBe('HG_DAEMON');
    expect(error.message).toContain(`(process ${daemon.process.pid}) holds the data plane ebpf`);
    expect(error.hint).toContain(
      'systemctl stop headgate; headgate migrate ebpf-to-ipvs --yes; systemctl start headgate',
    );
    expect(site.rules()).toContain('-A -t 192.0.2.10:80 -s wlc');
  });
});
