import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { requires } from '../requirements.ts';
import { checked, peer } from './site.ts';

requires('root', 'ip')('connecting where there is no way', () => {
  const [near, far] = ['hgconn0', 'hgconn1'];
  const ip = (...words: string[]) => execFileSync('ip', words, { stdio: 'pipe' });

  beforeAll(() => {
    ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
    ip('address', 'add', '198.18.76.1/30', 'dev', near);
    ip('address', 'add', '2001:db8:76::1/64', 'dev', near, 'nodad');
    for (const link of [near, far]) ip('link', 'set', link, 'up');
    // Is there and answers nothing.
    ip('neighbour', 'add', '198.18.76.2', 'lladdr', '02:00:00:00:00:76', 'dev', near);
    for (const kind of ['unreachable', 'prohibit', 'blackhole']) {
      ip('route', 'add', kind, routes[kind]!);
    }
    ip('-6', 'route', 'add', 'unreachable', '2001:db8:77::/64');
  });
  afterAll(() => {
    ip('link', 'del', near);
    for (const [kind, route] of Object.entries(routes)) ip('route', 'del', kind, route);
    ip('-6', 'route', 'del', 'unreachable', '2001:db8:77::/64');
  });
  const routes: Record<string, string> = {
    unreachable: '198.18.77.0/30',
    prohibit: '198.18.77.4/30',
    blackhole: '198.18.77.8/30',
  };

  const reasonOf = async (address: string, timeout = '300ms', source?: string) => {
    const keys = { type: 'tcp', timeout, ...(source !== undefined && { source }) } as const;
    const { result } = await checked(keys, 80, parseAddress(address) as Address);
    return result.isGood ? result : `${result.phase}: ${result.reason}`;
  };

  test('a host that answers nothing, and one that is not there', async () => {
    expect(await reasonOf('198.18.76.2')).toBe('connect: no answer within 300ms');
    // Linux asks three times by ARP, a second apart, before it says so.
    ip('neighbour', 'del', '198.18.76.2', 'dev', near);
    expect(await reasonOf('198.18.76.2', '10s')).toBe('connect: no route to host');
    expect(await reasonOf('2001:db8:76::2', '10s')).toBe('connect: no route to host');
  });

  test('routes that lead nowhere', async () => {
    expect(await reasonOf('198.18.77.1')).toBe('connect: no route to host');
    expect(await reasonOf('2001:db8:77::1')).toBe('connect: no route to host');
    expect(await reasonOf('198.18.77.5')).toMatch(/^connect: not permitted/);
    expect(await reasonOf('198.18.77.9')).toBe('connect: no route to host');
    expect(await reasonOf('198.18.77.1', '1s', '127.0.0.1')).toMatch(/^connect: /);
  });
});

test('a process without file descriptors says so, of every check, and goes on', async () => {
  const listening = await peer((socket) => socket.resume());
  try {
    const script = new URL('./many-checks.ts', import.meta.url).pathname;
    const command = `ulimit -n 256 && exec "${process.execPath}" --import tsx "${script}" ${listening.port} 500`;
    const { stdout } = await promisify(execFile)('sh', ['-c', command]);
    const counts = JSON.parse(stdout) as { first: Record<string, number>; after: Record<string, number> };
    const lacking = 'connect: no file descriptors left: raise the limit of open files of this process';
    expect(counts.first[lacking]).toBeGreaterThan(200);
    expect(counts.first.good! + counts.first[lacking]!).toBe(500);
    expect(counts.after).toEqual({ good: 1 });
  } finally {
    await listening.close();
  }
});
