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

  it.each(['ebpf-to-ipvs', 'ipvs-to-ebpf'])(
    '%s goes through the daemon: what stands in the way is said as without one, and it goes on',
    async (move) => {
      const ask = (of: Site) => {
        const { status, stdout, stderr } = of.run('headgate', 'migrate', move, '-o', 'json');
        const { error } = JSON.parse(stderr || '{}') as { error?: { code: string; message: string } };
        return { status, stdout, error };
      };
      const alone = openSite('alone');
      try {
        const daemon = await site.start();
        const answer = ask(site);
        expect(answer).toEqual(ask(alone));
        expect(answer.error?.code).not.toBe('HG_DAEMON');
        expect(site.run('ipvsadm', '-A', '-t', '192.0.2.11:80', '-s', 'rr').status).toBe(0);
        expect(site.rules()).toContain('-A -t 192.0.2.10:80 -s wlc');
        expect(await daemon.end('SIGTERM')).toBe(0);
      } finally {
        alone.close();
      }
    },
  );

  it('a reload takes the daemon to no other plane, and the log says what does', async () => {
    const daemon = await site.start();
    site.write(`dataPlane: ipvs\n${configuration}`);
    await daemon.logged(
      /data plane stays as it is dataPlane=ebpf configured=ipvs next="headgate migrate ebpf-to-ipvs"/,
    );
    expect(site.run('headgate', 'status').stdout).toContain('data plane     ebpf: ');
    expect(await daemon.end('SIGTERM')).toBe(0);
  });
});
