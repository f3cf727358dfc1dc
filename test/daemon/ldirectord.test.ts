import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { addresses, type HealthSite, openHealthSite, vip } from './health-site.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'curl',
)('a file of ldirectord as it is', () => {
  let site: HealthSite;
  let folder = '';
  const told = (name: string): string => {
    const file = join(folder, name);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };

  beforeAll(async () => {
    site = openHealthSite('ld');
    folder = dirname(site.file);
    const file = join(folder, 'www.cf');
    writeFileSync(
      join(folder, 'other.cf'),
      `virtual=${vip}:8080\n\treal=10.87.0.9:80 masq\n\tchecktype=on\n`,
    );
    writeFileSync(
      file,
      `checktimeout=1
checkinterval=1
fallback=${addresses.sorry}:80 masq
fallbackcommand=echo >> ${join(folder, 'fallback')}
emailalert=admin@example.org
smtp=127.0.0.1
callback="echo in force >> ${join(folder, 'callback')}; true"
execute=other.cf
virtual=${vip}:80
\tmonitorfile=${join(folder, 'checks')}
\treal=${addresses.web1}:80 masq
\treal=${addresses.web2}:80 masq
\tservice=http
\tscheduler=rr
\tchecktype=negotiate
\trequest="health"
\treceive="^state$"
`,
    );
    site.write(`include: [${file}]\n`);
    await site.serve('web1');
    await site.serve('web2');
    await site.serve('sorry');
    await site.start();
  });
  afterAll(async () => {
    await site?.end('SIGTERM');
    site?.close();
  });

  it('real servers come with their first good check, and leave with a bad one, whatever the mail server does', async () => {
    await site.until(site.listed, ({ web1, web2 }) => web1 === 1 && web2 === 1);
    await expect.poll(() => told('callback'), { timeout: 10_000 }).toBe('in force\n');
    await site.serve('web1', 500);
    await site.until(site.listed, ({ web1, web2 }) => web1 === undefined && web2 === 1);
    await site.until(site.get, (name) => name === 'web2');
    const line = (said: string) =>
      new RegExp(`^\\[[^\\]]+\\] \\[\\d+\\] http tcp ${addresses.web1} 80 ${said}$`, 'm');
    await expect.poll(() => told('checks')).toMatch(line('\\[down\\] expect: got 500.*'));
    expect(told('checks')).toMatch(line('\\[up\\] 200 OK'));
    await expect
      .poll(site.log)
      .toMatch(/alert not delivered, is tried again .*mail server 127\.0\.0\.1 port 25: connection refused/);
  });

  it('the file that it executes is in force as well', () => {
    expect(site.run('ipvsadm', '-L', '-n').stdout).toContain(`TCP  ${vip}:8080 wrr`);
  });

  it('the fallback stands in for the last one, and the command is told', async () => {
    await site.kill('web2');
    await site.until(site.get, (name) => name === 'sorry');
    await expect.poll(() => told('fallback'), { timeout: 10_000 }).toContain(`start ${vip}:80 tcp\n`);
    await site.serve('web2');
    await site.until(site.get, (name) => name === 'web2');
    await expect.poll(() => told('fallback'), { timeout: 10_000 }).toContain(`stop ${vip}:80 tcp\n`);
    await site.until(site.listed, (listed) => !('sorry' in listed));
  });
});
