import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { linesAbout, resolvePatterns, systemFiles } from './sysctl-files.ts';

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
    { name: 'net.ipv4.vs.conntrack', value: '1', optional: false, place: `${file}:3` },
    { name: 'net.ipv4.vs.sync_threshold', value: '3 50', optional: true, place: `${file}:4` },
    { name: 'headgate.half_open_share', value: '10', optional: false, place: `${file}:7` },
  ]);
  expect(linesAbout(join(root, 'absent.conf'), ['net.'])).toEqual([]);
});

test('a pattern is for every parameter it matches that no line names', () => {
  const prefixes = ['net.ipv4.vs.'];
  const titles = ['sloppy_sctp', 'sloppy_tcp', 'sync_ports', 'drop_entry', 'drop_packet'].map(
    (name) => `${prefixes[0]}${name}`,
  );
  const resolved = (text: string): string[] =>
    resolvePatterns(linesAbout(put('patterns.conf', text), prefixes), titles, prefixes).map(
      ({ name, value }) => `${name.replace(prefixes[0]!, '')}=${value}`,
    );
  expect(resolved('net/ipv4/vs/sloppy_* = 1\n')).toEqual(['sloppy_sctp=1', 'sloppy_tcp=1']);
  expect(resolved('net.ipv4.vs.sloppy_tcp = 0\nnet.*.vs.s[l-o]*_*ct? = 1\n')).toEqual([
    'sloppy_tcp=0',
    'sloppy_sctp=1',
  ]);
  expect(resolved('net.ipv4.vs.drop_* = 3\n-net.ipv4.vs.drop_packet\n')).toEqual(['drop_entry=3']);
  expect(resolved('net.ipv4.vs.[!s]* = 1\nnet.*_ports = 4\nnet.ipv4.conf.*.rp_filter = 1\n')).toEqual([
    'drop_entry=1',
    'drop_packet=1',
  ]);
  expect(resolved('net.ipv4.vs.nosuch_* = 1\nnet.ipv4.vs.[z-a] = 1\nnet.ipv4.vs.[ = 1\n')).toEqual([
    'nosuch_*=1',
    '[z-a]=1',
    '[=1',
  ]);
});
