import { afterEach, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { ask } from './ask.ts';
import { configuration } from './network.ts';
import { openSite, type Site } from './site.ts';

const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 };
const addition = (n: number) =>
  JSON.stringify({
    operations: [
      {
        kind: 'add-destination',
        id,
        destination: {
          address: `10.1.0.${n}`,
          port: 80,
          method: 'masquerade',
          weight: 1,
          upperThreshold: 0,
          lowerThreshold: 0,
        },
      },
    ],
  });

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('clients that change the rules they have seen', () => {
  let site: Site;
  beforeEach(async () => {
    site = openSite();
    site.write(configuration);
  });
  afterEach(() => site.close());
  const tag = async (path = '/v1/table') => (await ask(site.socket, 'GET', path)).headers.etag!;

  it('never overwrite each other: of two at once one is refused', async () => {
    await site.start();
    for (let round = 0; round < 20; round++) {
      const seen = await tag();
      const answers = await Promise.all(
        [2 * round + 1, 2 * round + 2].map((n) =>
          ask(site.socket, 'POST', '/v1/operations', { body: addition(n), headers: { 'if-match': seen } }),
        ),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
      const refused = answers.find(({ status }) => status === 412)!;
      expect(JSON.parse(refused.text).error.code).toBe('HG_CHANGED');
      const done = answers.find(({ status }) => status === 200)!;
      expect(done.headers.etag).toBe(await tag());
      expect(done.headers.etag).not.toBe(seen);
      expect(site.rules()).toHaveLength(2 + round + 1);
    }
  });

  it('are refused a reload of what they have not seen, and nothing is read from the file', async () => {
    const daemon = await site.start();
    const seen = await tag('/v1/status');
    expect(seen).toBe(await tag());
    expect(site.run('ipvsadm', '-A', '-u', '192.0.2.10:53', '-s', 'rr').status).toBe(0);
    const refused = await ask(site.socket, 'POST', '/v1/reload', { headers: { 'if-match': seen } });
    expect(refused.status).toBe(412);
    const reload = await ask(site.socket, 'POST', '/v1/reload', { headers: { 'if-match': await tag() } });
    expect(reload.status).toBe(200);
    const kept = await tag();
    site.write(configuration.replace('rr', 'wlc'));
    await daemon.logged(/generation=2/);
    expect(await tag()).not.toBe(kept);
    // Another daemon's editions are others.
    const last = await tag();
    await daemon.end('SIGTERM');
    await site.start();
    expect(await tag()).not.toBe(last);
    expect(
      (
        await ask(site.socket, 'POST', '/v1/operations', {
          body: addition(1),
          headers: { 'if-match': last },
        })
      ).status,
    ).toBe(412);
    expect(site.rules()).toHaveLength(3);
  });

  it('are told that they have them already', async () => {
    await site.start();
    for (const path of ['/v1/table', '/v1/status']) {
      const seen = await tag(path);
      const again = await ask(site.socket, 'GET', path, { headers: { 'if-none-match': seen } });
      expect(again).toMatchObject({ status: 304, text: '', headers: { etag: seen } });
      const other = await ask(site.socket, 'GET', path, { headers: { 'if-none-match': '"other"' } });
      expect(other.status).toBe(200);
    }
  });
});
