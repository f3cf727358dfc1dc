import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfiguration } from '../../load.ts';

const more = process.env.EXTRA_FIXTURES;

describe.skipIf(!more)('keepalived.conf of EXTRA_FIXTURES', () => {
  const load = (name: string) => {
    const file = join(more!, '003', name);
    const text = readFileSync(file, 'utf8').split('\n');
    const { configuration, problems, warnings, testCodes } = loadConfiguration(file);
    return { text, configuration, problems, warnings, testCodes };
  };

  test.each([
    ['keepalived.conf.MASTER', 100, 'master'],
    ['keepalived.conf.BACKUP', 50, 'backup'],
    ['keepalived.conf.annotated.original', 100, 'master'],
    ['keepalived.conf.annotated.fixed', 100, 'master'],
  ])('%s can be used', (name, priority, initial) => {
    const { configuration, problems } = load(name);
    expect(problems).toEqual([]);
    expect(configuration?.virtualServices).toMatchObject([
      {
        address: [{ address: '192.168.200.254', port: 80, protocol: 'tcp' }],
        scheduler: 'rr',
        method: 'direct-routing',
        check: [{ type: 'tcp', interval: 6000, timeout: 10_000, retryInterval: 3000, fall: 4 }],
        realServers: [
          { address: { address: '192.168.200.103' }, weight: 1 },
          { address: { address: '192.168.200.104' }, weight: 1 },
        ],
      },
    ]);
    expect(configuration?.failover?.vrrp).toMatchObject([
      { name: 'VI_1', interface: 'eth0', routerId: 51, version: 2, priority, initial },
    ]);
    expect(configuration?.alerts?.mail).toMatchObject([{ to: ['crushlinux@163.com'] }]);
  });

  test('words behind a value and two lines without # are warnings', () => {
    const { text, warnings, testCodes } = load('keepalived.conf.annotated.original');
    const lines = (form: RegExp) =>
      warnings.filter(({ reason }) => form.test(reason)).map(({ line }) => line);
    const unknown = lines(/is not known in/);
    expect(unknown.map((line) => /^(端口|权值)/.test(text[line - 1]!))).toEqual([true, true]);
    expect(lines(/behind the value is left out/)).toEqual([
      text.findIndex((line) => /^virtual_router_id 51 \S/.test(line)) + 1,
    ]);
    expect(testCodes?.usable).toBe(4);
  });
});
