import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { linesAbout, systemFiles } from './sysctl-files.ts';

/* Which files count and in which order: sysctl(8), sysctl.d(5); what a line is: sysctl.conf(5). */

const root = mkdtempSync(join(tmpdir(), 'headgate-sysctl-'));
afterAll(() => rmSync(root, { recursive: true }));

function put(path: string, text = ''): string {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
  return join(root, path);
}

test('files go by their name, of several with one name the one in /etc, and sysctl.conf comes last', () => {
  for (const path of ['usr/lib/sysctl.d/50-a.conf', 'usr/lib/sysctl.d/10-b.conf', 'run/sysctl.d/20-c.conf'])
    put(path);
  put('etc/sysctl.d/50-a.conf');
  put('etc/sysctl.d/99-d.conf.bak');
  expect(systemFiles(root).map((path) => path.slice(root.length))).toEqual([
    '/usr/lib/sysctl.d/10-b.conf',
    '/run/sysctl.d/20-c.conf',
    '/etc/sysctl.d/50-a.conf',
    '/etc/sysctl.conf',
  ]);
});

test('lines about a prefix, with their places', () => {
  const file = put(
    'lines.conf',
    `# net.ipv4.vs.a = 1
; net.ipv4.vs.b = 1
net.ipv4.vs.conntrack=1
  -net/ipv4/vs/sync_threshold = 3 50
net.ipv4.ip_forward = 1

headgate.half_open_share =\t10
net.ipv4.vs.without
`,
  );
  expect(linesAbout(file, ['net.ipv4.vs.', 'headgate.'])).toEqual([
    { name: 'net.ipv4.vs.conntrack', value: '1', place: `${file}:3` },
    { name: 'net.ipv4.vs.sync_threshold', value: '3 50', place: `${file}:4` },
    { name: 'headgate.half_open_share', value: '10', place: `${file}:7` },
  ]);
  expect(linesAbout(join(root, 'absent.conf'), ['net.'])).toEqual([]);
});
