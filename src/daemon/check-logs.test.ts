import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkLogLine, openCheckLogs } from './check-logs.ts';

const checked = { type: 'http', protocol: 'tcp', address: '10.0.0.11', port: 80 };

describe('a line', () => {
  // ldirectord 1.186, service_set: "[$now] [$$] $real_log_msg [$state] $log_msg", $now of Perl's localtime.
  test('is one of ldirectord', () => {
    const now = new Date(2026, 0, 1, 3, 4, 5);
    const good = { isGood: true, detail: '200 OK', durationMs: 3 } as const;
    expect(checkLogLine(checked, good, now, 42)).toBe(
      '[Thu Jan  1 03:04:05 2026] [42] http tcp 10.0.0.11 80 [up] 200 OK\n',
    );
    const bad = { isGood: false, phase: 'connect', reason: 'connection refused', durationMs: 3 } as const;
    expect(checkLogLine(checked, bad, new Date(2026, 10, 21, 23, 0, 0), 42)).toBe(
      '[Sat Nov 21 23:00:00 2026] [42] http tcp 10.0.0.11 80 [down] connect: connection refused\n',
    );
  });

  test('is one line, whatever the real server says', () => {
    const odd = { isGood: true, detail: '100 % | a\r\nb', durationMs: 3 } as const;
    expect(checkLogLine(checked, odd, new Date(0), 1)).toMatch(/ \[up\] 100 %25 %7C a%0D%0Ab\n$/);
    expect(checkLogLine(checked, { ...odd, detail: '' }, new Date(0), 1)).toMatch(/ \[up\] -\n$/);
  });
});

describe('the files', () => {
  let folder = '';
  const told: unknown[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hgchecklog-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const text = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

  test('grow, are begun anew once moved away, and get the rest at the end', async () => {
    const logs = openCheckLogs((...line) => told.push(line));
    const path = join(folder, 'web');
    logs.add(path, 'one\n');
    logs.add(path, 'two\n');
    await expect.poll(() => text(path)).toBe('one\ntwo\n');
    renameSync(path, `${path}.1`);
    logs.add(path, 'three\n');
    await expect.poll(() => text(path)).toBe('three\n');
    logs.add(path, 'four\n');
    logs.stop();
    expect(text(path)).toBe('three\nfour\n');
    expect(told).toEqual([]);
  });

  test('one that cannot be written is told of once, and the others go on', async () => {
    const logs = openCheckLogs((...line) => told.push(line));
    const [nowhere, path] = [join(folder, 'none', 'web'), join(folder, 'other')];
    logs.add(nowhere, 'lost\n');
    await expect.poll(() => told).toHaveLength(1);
    logs.add(nowhere, 'lost\n');
    logs.add(path, 'there\n');
    await expect.poll(() => text(path)).toBe('there\n');
    logs.stop();
    expect(told).toEqual([
      [
        'error',
        'results of checks cannot be written',
        { file: nowhere, reason: expect.stringContaining('ENOENT') },
      ],
    ]);
  });
});
