import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import {
  addresses,
  type HealthSite,
  openHealthSite,
  probePort,
  vip,
  webConfiguration,
} from './health-site.ts';

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
  webConfiguration({ check: { type: 'tcp', ...check, ...own }, ...service }, servers);

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'curl',
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

  it('a real server that is dead leaves within the time chosen, says why, and comes back', async () => {
    site.write(configuration());
    await site.start();
    expect(site.listed()).toEqual({ web1: 3, web2: 3 });
    await site.until(
      () => site.stateOf('web1'),
      (one) => /^ok \d+ ms$/.test(one?.check?.word ?? ''),
    );
    expect(site.run('headgate', 'describe', 'web/web1').stdout).toMatch(
      /^ {2}check +ok \d+ ms {2}tcp: connected \(\d+ ms, \d+s ago\), up for \d+s, next try in \d+s$/m,
    );
    await site.kill('web1');
    const tookMs = await site.until(site.listed, (found) => found.web1 === undefined);
    expect(tookMs).toBeLessThan(longestMs + slackMs);
    expect(site.listed()).toEqual({ web2: 3 });
    expect(new Set([site.get(), site.get(), site.get(), site.get()])).toEqual(new Set(['web2']));
    expect(site.stateOf('web1')).toMatchObject({
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
    expect(site.events().filter((one) => one.startsWith('real-server'))).toEqual([
      expect.stringMatching(/^real-server-down web\/web1 is down: tcp connect: connection refused/),
      expect.stringMatching(/^real-server-up web\/web1 is up: tcp: connected/),
    ]);
  });

  const isOut = (name: string) => (found: Record<string, number>) => found[name] === undefined;
  const answers = (times = 4) => new Set(Array.from({ length: times }, () => site.get()));
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  it('one that comes and goes is held down, says why and until when, and is let go when nobody else serves', async () => {
    const damping = { falls: 2, within: '5m', hold: '90s', longest: '5m' };
    site.write(configuration({ check: { interval: '200ms', fall: 1, rise: 1, damping } }));
    await site.start();
    const comeAndGo = async () => {
      await site.kill('web1');
      await site.until(site.listed, isOut('web1'));
      await site.serve('web1');
    };
    await comeAndGo();
    await site.until(site.listed, (found) => found.web1 === 3);
    await comeAndGo();
    await site.until(
      () => site.stateOf('web1'),
      (one) => one?.check?.word === 'held',
    );
    const until = Date.parse(site.stateOf('web1')!.check!.heldUntil!);
    expect(until - Date.now()).toBeGreaterThan(30_000);
    expect(until - Date.now()).toBeLessThan(90_000);
    expect(site.listed()).toEqual({ web2: 3 });
    const text = `held until ${new Date(until).toISOString().replace(/\.\d+Z/, 'Z')}: it went down 2 times since `;
    expect(site.stateOf('web1')).toMatchObject({ state: 'down', reason: expect.stringContaining(text) });
    expect(site.run('headgate', 'status').stdout).toContain(`web/web1: it is down, ${text}`);
    // A daemon that is started anew goes on holding it.
    await site.end('SIGTERM');
    await site.start();
    await site.until(
      () => site.stateOf('web1'),
      (one) => one?.check?.word === 'held',
    );
    expect(site.listed()).toEqual({ web2: 3 });
    await site.kill('web2');
    await site.until(site.listed, (found) => found.web1 === 3 && isOut('web2')(found));
    expect(Date.now()).toBeLessThan(until);
    expect(site.get()).toBe('web1');
    expect(
      site
        .events()
        .filter((one) => one.startsWith('real-server-down web/web1'))
        .at(-1),
    ).toContain(text);
  });

  /** What was told when it went down last: without clients a passive check finds it well again two seconds later. */
  const whyDown = (name: string) =>
    site
      .events()
      .filter((one) => one.startsWith(`real-server-down web/${name} `))
      .at(-1);
  const passive = { type: 'passive', interval: '2s', failures: 3, rise: 3 };

  it('one that refuses clients is out by what they meet, though nobody asks it', async () => {
    site.write(configuration({ check: passive }));
    await site.start();
    await site.kill('web1');
    await site.until(
      () => answers(8) && site.listed(),
      (found) => found.web1 === undefined,
    );
    expect(whyDown('web1')).toMatch(
      /is down: passive expect: \d+ connections of clients, \d+ refused, want fewer than 3 that fail/,
    );
    expect(answers()).toEqual(new Set(['web2']));
    // The last one stays, whatever becomes of its clients.
    await site.kill('web2');
    await site.until(
      () => answers(8) && site.stateOf('web2')?.check?.last?.result.detail,
      (detail) => detail?.startsWith('it stays, for too few others serve: ') === true,
    );
    expect(site.listed().web2).toBe(3);
  });

  it('one that does not answer clients is out by that, while its own check says that it is well', async () => {
    const both = [{ type: 'tcp', ...check, port: probePort }, passive];
    site.write(configuration({ service: { check: both } }));
    await site.start();
    const drop = (how: 'add' | 'flush', ...words: string[]) =>
      site.lab.run('web1', 'nft', [how, ...words]).status;
    expect(drop('add', 'table', 'inet', 't')).toBe(0);
    drop('add', 'chain', 'inet', 't', 'c', '{ type filter hook input priority 0; }');
    expect(drop('add', 'rule', 'inet', 't', 'c', 'tcp', 'dport', '80', 'drop')).toBe(0);
    const wanted = join(dirname(site.file), 'clients');
    writeFileSync(wanted, '');
    const clients = `while [ -e ${wanted} ]; do curl -s -m 3 http://${vip}/ & sleep 0.2; done; wait`;
    const child = site.lab.spawn('client', 'bash', ['-c', clients], { stdio: 'ignore' });
    const gone = once(child, 'exit');
    try {
      await site.until(site.listed, (found) => found.web1 === undefined);
      expect(whyDown('web1')).toMatch(/passive \w+: \d+ connections of clients, \d+ not answered/);
    } finally {
      // The shell waits for its clients: killed, it would leave them to the next test.
      rmSync(wanted);
      await gone;
      drop('flush', 'ruleset');
    }
    await site.until(site.listed, (found) => found.web1 === 3);
  });

  it('one whose page is not that of most others is told of, and is out where that is wanted', async () => {
    // With its status a page is another one.
    await site.serve('web1', 203);
    const third = [{ name: 'web3', address: `${addresses.sorry}:80`, weight: 3 }];
    const all = JSON.parse(configuration()).virtualServices[0].realServers;
    const pages = (compare: string) =>
      configuration({
        check: { type: 'http', path: '/health', interval: '300ms', compare },
        service: { realServers: [...all, ...third] },
      });
    site.write(pages('report'));
    await site.start();
    const problem = /web\/web1: its page is not that of 2 of 3 real servers: SHA-256 \w{8}\.\.\., theirs/;
    await site.until(
      () => site.run('headgate', 'status'),
      ({ stdout, status }) => problem.test(stdout) && status === 1,
    );
    expect(Object.keys(site.listed())).toHaveLength(3);
    site.write(pages('fail'));
    await site.until(site.listed, isOut('web1'));
    expect(site.stateOf('web1')?.reason).toMatch(
      /^down 2\/2 {2}http expect: page is not that of 2 of 3 real servers/,
    );
    await site.serve('web1');
    await site.until(site.listed, (found) => found.web1 === 3);
    expect(site.run('headgate', 'status').status).toBe(0);
  });

  it('one that is to be quiesced keeps its connections, and gets no new ones', async () => {
    site.write(configuration({ check: { whenDown: 'quiesce', port: probePort } }));
    await site.start();
    const held = [site.hold(), site.hold()];
    const ofWeb1 = () => held.find((text) => text().startsWith('web1'));
    await site.until(ofWeb1, (one) => one !== undefined);
    site.failProbe('web1');
    await site.until(site.listed, (found) => found.web1 === 0);
    expect(answers()).toEqual(new Set(['web2']));
    const before = ofWeb1()!().length;
    await site.until(
      () => ofWeb1()!().length,
      (length) => length > before + 20,
    );
    expect(site.stateOf('web1')).toMatchObject({ state: 'down', weight: 0 });
  });

  it('a sorry server takes over when too few are well, and leaves when enough are', async () => {
    const sorryServer = { address: `${addresses.sorry}:80` };
    site.write(configuration({ service: { quorum: 4, sorryServer } }));
    await site.start();
    await site.kill('web1');
    await site.until(site.listed, (found) => found.sorry === 1);
    // The one that is well keeps what it has.
    expect(site.listed()).toEqual({ web2: 0, sorry: 1 });
    expect(answers()).toEqual(new Set(['sorry']));
    await site.kill('web2');
    await site.until(site.listed, isOut('web2'));
    const status = site.run('headgate', 'status');
    expect(status.status).toBe(2);
    expect(status.stdout).toMatch(
      /0 of 2 real servers usable: 2 down; the sorry server 10\.87\.0\.3:80 answers/,
    );
    expect(site.stateOf(`${addresses.sorry}:80`)?.state).toBe('sorry');
    await site.serve('web1');
    await site.serve('web2');
    await site.until(site.listed, isOut('sorry'));
    expect(site.listed()).toEqual({ web1: 3, web2: 3 });
    expect(site.run('headgate', 'status').status).toBe(0);
    const told = site.events().filter((one) => one.startsWith('quorum'));
    expect(told.slice(-2)).toEqual([
      'quorum-lost web has lost its quorum of 4, the sorry server takes over',
      'quorum-gained web has its quorum of 4, the sorry server leaves',
    ]);
    expect(JSON.parse(site.run('headgate', 'plan', site.file, '-o', 'json').stdout)).toMatchObject({
      ...{ steps: [], kept: [] },
    });
  });

  it('a quorum that a person or the file takes away is told of as well, and so is its return', async () => {
    const sorryServer = { address: `${addresses.sorry}:80` };
    const quorum = (value: number) => site.write(configuration({ service: { quorum: value, sorryServer } }));
    quorum(4);
    await site.start();
    const all = () => site.events().filter((one) => one.startsWith('quorum'));
    const before = all().length;
    const told = () => all().slice(before);
    expect(site.run('headgate', 'drain', 'web/web1', '--yes').status).toBe(0);
    await site.until(told, (found) => found.length === 1);
    expect(answers()).toEqual(new Set(['sorry']));
    expect(site.run('headgate', 'ready', 'web/web1').status).toBe(0);
    await site.until(told, (found) => found.length === 2);
    quorum(7);
    expect(site.run('headgate', 'reload', '--yes').status).toBe(0);
    await site.until(told, (found) => found.length === 3);
    expect(told()).toEqual([
      'quorum-lost web has lost its quorum of 4, the sorry server takes over',
      'quorum-gained web has its quorum of 4, the sorry server leaves',
      'quorum-lost web has lost its quorum of 7, the sorry server takes over',
    ]);
    expect(site.events()).toContainEqual(
      expect.stringMatching(
        /^configuration-applied generation \d+ of .* by reload: \+0 ~1 -0: web quorum 4 -> 7$/,
      ),
    );
  });

  it('one that comes back has its weight step by step, and says why it has not all of it', async () => {
    site.write(configuration({ check: { slowStart: '1h' }, servers: { web1: { weight: 100 } } }));
    await site.start();
    expect(site.listed()).toEqual({ web1: 100, web2: 3 });
    await site.kill('web1');
    await site.until(site.listed, isOut('web1'));
    await site.serve('web1');
    await site.until(site.listed, (found) => found.web1 === 10);
    expect(site.stateOf('web1')).toMatchObject({
      ...{ state: 'ready', weight: 10 },
      reason: expect.stringMatching(/; weight 10 of 100: slow start$/),
    });
  });

  it('who is down stays down without a daemon, and when one starts again', async () => {
    site.write(configuration());
    await site.start();
    await site.kill('web1');
    await site.until(site.listed, isOut('web1'));
    await site.end('SIGKILL');
    expect(site.listed()).toEqual({ web2: 3 });
    site.write(configuration({ servers: { web2: { weight: 4 } } }));
    expect(site.run('headgate', 'apply', site.file, '--yes').status).toBe(0);
    expect(site.listed()).toEqual({ web2: 4 });
    const status = site.run('headgate', 'status', site.file);
    expect(status.status).toBe(1);
    expect(status.stdout).toMatch(/nobody is checking now/);
    expect(status.stdout).toMatch(/web\/web1: it is down: tcp connect: connection refused/);
    // Longer than its first check takes to come.
    await site.start();
    expect(site.listed()).toEqual({ web2: 4 });
    await wait(1500);
    expect(site.listed()).toEqual({ web2: 4 });
    await site.serve('web1');
    await site.until(site.listed, (found) => found.web1 === 3);
    expect(site.listed()).toEqual({ web1: 3, web2: 4 });
  });

  it('a reload keeps what checks have found, also of a check that is described anew', async () => {
    site.write(configuration({ check: { interval: '1s' } }));
    await site.start();
    await site.kill('web1');
    await site.until(site.listed, isOut('web1'));
    const since = site.stateOf('web1')?.check?.since;
    site.write(configuration({ check: { interval: '1s' }, servers: { web2: { weight: 5 } } }));
    expect(site.run('headgate', 'reload').status).toBe(0);
    expect(site.listed()).toEqual({ web2: 5 });
    expect(site.stateOf('web1')?.check).toMatchObject({ since, word: 'down 2/2' });
    site.write(configuration({ check: { interval: '1s', fall: 3 } }));
    expect(site.run('headgate', 'reload').status).toBe(0);
    expect(site.listed()).toEqual({ web2: 3 });
    expect(site.stateOf('web1')?.check?.since).toBe(since);
    // Without a check it is a server like any other.
    site.write(configuration({ servers: { web1: { check: 'none' } } }));
    expect(site.run('headgate', 'reload').status).toBe(0);
    expect(site.listed()).toEqual({ web1: 3, web2: 3 });
  });

  it('ipvsadm goes on beside it', async () => {
    site.write(configuration());
    await site.start();
    await site.kill('web1');
    await site.until(site.listed, isOut('web1'));
    const write = (flag: string, node: 'web1' | 'web2', weight: number) =>
      site.run('ipvsadm', flag, '-t', `${vip}:80`, '-r', `${addresses[node]}:80`, '-m', '-w', String(weight));
    // What ipvsadm 1.31 says of one that is not there.
    expect(write('-e', 'web1', 7)).toMatchObject({ status: 255, stderr: 'No such destination\n' });
    expect(write('-e', 'web2', 8).status).toBe(0);
    expect(write('-a', 'web1', 7).status).toBe(0);
    expect(site.listed()).toEqual({ web2: 8 });
    expect(JSON.parse(site.run('headgate', 'plan', site.file, '-o', 'json').stdout).kept).toHaveLength(2);
    await site.serve('web1');
    await site.until(site.listed, (found) => found.web1 !== undefined);
    expect(site.listed()).toEqual({ web1: 7, web2: 8 });
    expect(site.run('headgate', 'reload', '--drop-runtime-changes').status).toBe(0);
    expect(site.listed()).toEqual({ web1: 3, web2: 3 });
  });

  it('maintenance comes before what a check says, and nobody is checked in it', async () => {
    site.write(configuration());
    await site.start();
    await site.kill('web1');
    await site.until(site.listed, isOut('web1'));
    expect(site.run('headgate', 'maintenance', 'web/web1').status).toBe(0);
    expect(site.listed()).toEqual({ web1: 0, web2: 3 });
    expect(site.stateOf('web1')).toMatchObject({ state: 'maintenance' });
    await site.serve('web1');
    await wait(1500);
    expect(site.listed()).toEqual({ web1: 0, web2: 3 });
    expect(site.stateOf('web1')?.check).toMatchObject({ isUp: false, word: 'down 2/2' });
    expect(site.run('headgate', 'ready', 'web/web1').status).toBe(0);
    await site.until(site.listed, (found) => found.web1 === 3);
  });

  it('a check is run by hand, with a daemon and without, and counts for nothing', async () => {
    site.write(configuration());
    const by = (...words: string[]) => site.run('headgate', 'check', 'web/web1', ...words);
    expect(by('--file', site.file)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^web\/web1 {2}tcp: connected \(\d+ ms\)\n$/),
    });
    // What was applied last is known, as status knows it.
    expect(by()).toMatchObject({ status: 1, stderr: expect.stringContaining('HG_CONFIG') });
    expect(site.run('headgate', 'apply', site.file)).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(
        `the checks of 2 real servers are run by a daemon only, and none runs\n  next: headgate run ${site.file}`,
      ),
    });
    expect(site.run('headgate', 'status').stdout).toMatch(
      /^checks +none is run: no daemon runs, and 2 real servers should be checked; next: headgate run /m,
    );
    expect(by()).toMatchObject({ status: 0, stderr: '' });
    await site.start();
    await site.kill('web1');
    const refused = /^web\/web1 {2}tcp connect: connection refused \(\d+ ms\)\n$/;
    expect(by()).toMatchObject({ status: 1, stdout: expect.stringMatching(refused), stderr: '' });
    const [first] = JSON.parse(by('-o', 'json').stdout);
    expect(first).toMatchObject({
      ...{ service: 'web', realServer: 'web1', type: 'tcp', target: '10.87.0.1:80' },
      result: { isGood: false, phase: 'connect', reason: 'connection refused' },
    });
    expect(by('--verbose').stdout).toMatch(
      /^web\/web1 {2}tcp 10\.87\.0\.1:80\n( {2}[><*] .*\n)*web\/web1 {2}tcp connect/,
    );
    expect(site.run('headgate', 'check', 'web/web9')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('HG_UNKNOWN_NAME'),
    });
  });

  it('explain and describe know why it gets nobody', async () => {
    site.write(configuration());
    await site.start();
    await site.kill('web1');
    await site.kill('web2');
    await site.until(site.listed, (found) => Object.keys(found).length === 0);
    const explained = site.run('headgate', 'explain', '10.86.0.1', `${vip}:80`);
    expect(explained.status).toBe(1);
    expect(explained.stdout).toMatch(/web1 +10\.87\.0\.1:80.*down 2\/2 {2}tcp connect: connection refused/);
    expect(explained.stdout).toMatch(/headgate check web\/web[12] --verbose/);
    expect(site.run('headgate', 'check', `tcp ${vip}:80/${addresses.web1}:80`).status).toBe(1);
    const described = site.run('headgate', 'describe', 'web/web1');
    expect(described.stdout).toMatch(/state +down: down 2\/2 {2}tcp connect: connection refused/);
    expect(site.run('headgate', 'status').status).toBe(2);
  });

  it('several checks of one real server: it is up while all are good, and the one that is not says why', async () => {
    const http = { type: 'http', path: '/health', ...check };
    const realServers = (['web1', 'web2'] as const).map((name) => ({
      ...{ name, address: `${addresses[name]}:80`, weight: 3 },
      check: [{ type: 'tcp', ...check }, http],
    }));
    site.write(configuration({ service: { realServers } }));
    await site.start();
    await site.serve('web1', 503);
    await site.until(site.listed, isOut('web1'));
    expect(site.stateOf('web1')?.reason).toMatch(
      /^down 2\/2 {2}http expect: got 503 .*, want 200-299 \(\d+ ms, \d+s ago\)/,
    );
    expect(site.run('headgate', 'describe', 'web/web1').stdout).toMatch(
      /^ {2}checks {2,}ok \d+ ms {2}tcp: connected \(.*\n {4,}down 2\/2 {2}http expect: got 503 .*, want 200-299 /m,
    );
    expect(site.run('headgate', 'check', 'web/web1').stdout).toMatch(
      /^web\/web1 {2}tcp: connected \(\d+ ms\)\nweb\/web1 {2}http expect: got 503 .*, want 200-299 \(\d+ ms\)\n$/,
    );
    const stdout = site.metrics();
    const series = (name: string, realServer: string) =>
      Number(
        new RegExp(`^headgate_real_server_${name}\\{[^}]*real_server="${realServer}"\\} (\\S+)$`, 'm').exec(
          stdout,
        )?.[1],
      );
    expect([series('up', 'web1'), series('up', 'web2')]).toEqual([0, 1]);
    expect(series('check_failures_total', 'web1')).toBeGreaterThanOrEqual(2);
    expect(series('checks_total', 'web1')).toBeGreaterThan(series('check_failures_total', 'web1'));
    await site.serve('web1');
    await site.until(site.listed, (found) => found.web1 === 3);
    const told = site.events().filter((one) => /^real-server-\w+ web\/web1/.test(one));
    expect(told.slice(-2)).toEqual([
      expect.stringMatching(/is down: (tcp|http) (connect|expect): /),
      expect.stringMatching(/is up: (tcp: connected|http: 200 OK)/),
    ]);
  });
});
