import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { requires } from '../requirements.ts';
import { at, linkKinds, plans, type Site, smallTable, standUp, verifiedByDirector } from './site.ts';

/* vsftpd behind masquerade, and curl before it: a file each way, by every kind of data connection. */

const program = resolve(import.meta.dirname, '../../bin/headgate.js');
const megabyte = Buffer.from(Array.from({ length: 1_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const families = [4, 6] as const;
const ftpPort = 21;
/** Servers by what of them matters: the third listens elsewhere, the second sends data from any port. */
const servers = [
  { n: 1, port: ftpPort, dataPort: 20 },
  { n: 2, port: ftpPort, dataPort: undefined },
  { n: 3, port: 2121, dataPort: 2120 },
] as const;
/** curl takes no address from a reply by itself. */
const passive = ['--disable-epsv', '--no-ftp-skip-pasv-ip'];
const active = ['--ftp-port', '-'];
const ways = [
  { way: 'EPSV', options: [], families },
  { way: 'PASV', options: passive, families: [4] },
  { way: 'EPRT', options: active, families },
  { way: 'PORT', options: [...active, '--disable-eprt'], families: [4] },
] as const;

requires(
  'root',
  'netns',
  'bpf',
  'vsftpd',
  'curl',
)('FTP', () => {
  describe.each([linkKinds[0], verifiedByDirector])('$links', (kind) => {
    let site: Site;
    let folder: string;
    const file = (...names: string[]) => join(folder, ...names);
    const run = (node: string, command: string, ...words: string[]) =>
      site.lab.run(node, command, words, { env: smallTable });
    const curl = (node: string, url: string, ...options: readonly string[]) =>
      run(node, 'curl', '-sS', '--max-time', '30', ...options, url);
    const helpAt = (ports: string) =>
      run('director', process.execPath, program, 'sysctl', `headgate.ftp_ports=${ports}`).stdout;
    /** The virtual addresses, one for each server. */
    const vipOf = (family: 4 | 6, n: number) =>
      [plans[family].vip, plans[family].sharedVip, plans[family].front][n - 1]!;

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'headgate-ftp-'));
      chmodSync(folder, 0o755);
      for (const name of ['root', 'empty', 'root/in']) mkdirSync(file(name));
      for (const name of ['root', 'empty']) chmodSync(file(name), 0o755);
      chmodSync(file('root/in'), 0o777);
      for (const name of ['megabyte', 'root/megabyte']) writeFileSync(file(name), megabyte, { mode: 0o644 });
      site = await standUp('ftp', kind, { started: [], bare: true });
      site.rules(
        ...families.flatMap((family) =>
          servers.flatMap(({ n, port }) => {
            const service = at(vipOf(family, n), ftpPort);
            return [`-A -t ${service} -s rr`, `-a -t ${service} -r ${at(plans[family].backOf(n), port)} -m`];
          }),
        ),
      );
      for (const { n, port, dataPort } of servers) {
        writeFileSync(
          file(`vsftpd-${n}.conf`),
          `listen_ipv6=YES\nlisten_port=${port}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nwrite_enable=YES
anon_upload_enable=YES\nanon_umask=022\nanon_root=${file('root')}\nsecure_chroot_dir=${file('empty')}\nxferlog_enable=NO
seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\nconnect_from_port_20=${dataPort ? 'YES' : 'NO'}\nftp_data_port=${dataPort ?? 20}\n`,
        );
        site.lab.spawn(`real${n}`, 'vsftpd', [file(`vsftpd-${n}.conf`)], { stdio: 'ignore' });
        const url = `ftp://${at(plans[4].backOf(n), port)}/`;
        await vi.waitUntil(() => curl('director', url).stdout.includes('megabyte'), 20_000);
      }
    });
    afterAll(async () => {
      await site?.down();
      if (folder) rmSync(folder, { recursive: true });
    });

    function fetches(family: 4 | 6, n: number, options: readonly string[], port = ftpPort): void {
      const base = `ftp://${at(vipOf(family, n), port)}`;
      rmSync(file('fetched'), { force: true });
      const { status, stderr } = curl('client', `${base}/megabyte`, ...options, '-o', file('fetched'));
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(digest(readFileSync(file('fetched')))).toBe(digest(megabyte));
    }
    function stores(family: 4 | 6, n: number, options: readonly string[], name: string): void {
      const base = `ftp://${at(vipOf(family, n), ftpPort)}`;
      const { status, stderr } = curl('client', `${base}/in/${name}`, ...options, '-T', file('megabyte'));
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(digest(readFileSync(file('root/in', name)))).toBe(digest(megabyte));
    }

    describe.each(ways)('$way', ({ way, options, families: those }) => {
      it.each(those)('IPv%i: a file each way', (family) => {
        fetches(family, 1, options);
        stores(family, 1, options, `${way}-${family}`);
      });
    });

    it.each([2, 3])('a server with ports of its own: real server %i', (n) => {
      for (const { options } of ways) fetches(4, n, options);
    });

    it('at another port of a virtual address', () => {
      const service = at(vipOf(4, 3), 2121);
      site.rules(`-A -t ${service} -s rr`, `-a -t ${service} -r ${at(plans[4].backOf(3), 2121)} -m`);
      helpAt('21,2121');
      try {
        for (const { options } of ways) fetches(4, 3, options, 2121);
      } finally {
        helpAt('21');
      }
    });

    it('counts nothing that was not understood', () => {
      expect(site.events('EVENT_FTP_NO_ROOM')).toBe(0);
      expect(site.events('EVENT_FTP_REFUSED')).toBe(0);
    });

    it('finds no way with headgate.ftp_ports=0', () => {
      expect(helpAt('0')).toBe('headgate.ftp_ports = 0\n');
      try {
        const url = `ftp://${at(plans[4].vip, ftpPort)}/megabyte`;
        const tries = ways.map(({ way, options }) => {
          const { status } = curl('client', url, ...options, '--max-time', '0.7', '-o', '/dev/null');
          return { way, fails: status !== 0 };
        });
        expect(tries).toEqual(ways.map(({ way }) => ({ way, fails: true })));
      } finally {
        expect(helpAt('21')).toBe('headgate.ftp_ports = 21\n');
      }
    });
  });
});
