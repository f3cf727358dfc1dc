import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { addresses, type HealthSite, openHealthSite, vip } from './health-site.ts';

const check = { interval: '500ms', timeout: '400ms', fall: 2, rise: 2 };
const longestMs = 2 * 500 + 400;
/** For the kernel, the table and the looking of this test, where others have the processors. */
const slackMs = 2500;

type Options = {
  readonly check?: Record<string, unknown>;
  readonly service?: Record<string, unknown>;
  readonly servers?: Record<string, object>;
};
const configuration = ({ check: own = {}, service = {}, servers = {} }: Options = {}) =>
  JSON.stringify({
    virtualServices: [
      {
        name: 'web',
        address: `${vip}:80`,
        scheduler: 'rr',
        method: 'masquerade',
        check: { type: 'tcp', ...check, ...own },
        realServers: (['web1', 'web2'] as const).map((name) => ({
          name,
          address: `${addresses[name]}:80`,
          weight: 3,
          ...servers[name],
        })),
        ...service,
      },
    ],
  });

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('checks of a daemon', () => {
  let site: HealthSite;
  beforeAll(() => {
    site = openHealthSite('hc');
  });
  afterAll(() => site?.close());
  beforeEach(async () => {
    await site.serve('web1');
    await site.serve('web2');
    await site.serve('sorry');
  });
  afterEach(async () => {
    await site.end('SIGTERM');
    site.run('headgate', 'clean-up');
  });

  const realServers = (): {
    name: string;
    state: string;
    reason: string;
    weight: number;
    check?: { word: string };
  }[] => JSON.parse(site.run('headgate', 'get', 'real-servers', '-o', 'json').stdout);
  const stateOf = (name: string) => realServers().find((one) => one.name === name);
  const events = () =>
    site
      .run('headgate', 'events', '-o', 'json')
      .stdout.trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; what: string })
      .map(({ kind, what }) => `${kind} ${what}`);

  it('a real server that is dead leaves within the time chosen, says why, and comes back', async () => {
    site.write(configuration());
    await site.start();
    expect(site.listed()).toEqual({ web1: 3, web2: 3 });
    await site.until(
      () => stateOf('web1'),
      (one) => /^ok \d+ ms$/.test(one?.check?.word ?? ''),
    );
    await site.kill('web1');
    const tookMs = await site.until(site.listed, (found) => found.web1 === undefined);
    expect(tookMs).toBeLessThan(longestMs + slackMs);
    expect(site.listed()).toEqual({ web2: 3 });
    expect(new Set([site.get(), site.get(), site.get(), site.get()])).toEqual(new Set(['web2']));
    expect(stateOf('web1')).toMatchObject({
      state: 'down',
      reason: expect.stringMatching(
        /^down 2\/2 {2}tcp connect: connection refused \(\d+ ms, \d+s ago\), down for \d+s, next try in \d+s$/,
      ),
      weight: 3,
    });
    const status = site.run('headgate', 'status');
    expect(status.status).toBe(1);
    expect(status.stdout).toMatch(
      /web\/web1: it is down: tcp connect: connection refused\n +next: headgate check web\/web1 --verbose/,
    );
    // What a check did is nobody's change, and nothing that the file says otherwise.
    expect(JSON.parse(site.run('headgate', 'plan', site.file, '-o', 'json').stdout)).toMatchObject({
      steps: [],
      kept: [],
      dropped: [],
    });
    await site.serve('web1');
    const backMs = await site.until(site.listed, (found) => found.web1 === 3);
    expect(backMs).toBeLessThan(longestMs + slackMs);
    expect(site.run('headgate', 'status').status).toBe(0);
    expect(events().filter((one) => one.startsWith('real-server'))).toEqual([
      expect.stringMatching(/^real-server-down web\/web1 is down: tcp connect: connection refused/),
      expect.stringMatching(/^real-server-up web\/web1 is up: tcp: connected/),
    ]);
  });
});
