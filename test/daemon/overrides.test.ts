import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { at, linkKinds, plans, type Site, services, standUp } from '../network/site.ts';
import { askTcp, closeSocket, connectOn, echoLine, readLine, tally } from '../network/sockets.ts';
import { randomNumbers, startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { launchers } from './site.ts';

const plan = plans[4];
const target = { address: plan.vip, port: services.tcp[0]! };
const configuration = (weights: Record<string, number>) => `
virtualServices:
  - name: echo
    address: ${at(target.address, target.port)}
    scheduler: wrr
    method: masquerade
    realServers: [${Object.entries(weights)
      .map(([name, weight]) => `{ name: ${name}, address: ${addressOf(name)}, weight: ${weight} }`)
      .join(', ')}]
`;
const addressOf = (name: string) => at(plan.backOf(Number(name.slice(-1))), target.port);
const both = { real1: 3, real2: 1 };

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('a real server is taken out and put back', () => {
  let site: Site;
  let folder: string;
  let file: string;
  let daemon: ChildProcess | undefined;
  const open: number[] = [];
  const environment = () => ({
    ...process.env,
    HEADGATE_CONNECTIONS: '4096',
    HEADGATE_STATE: join(folder, 'state'),
  });

  beforeAll(async () => {
    site = await standUp('over', linkKinds[0], { started: [1, 2] });
  });
  afterAll(() => site?.down());
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-overrides-'));
    file = join(folder, 'headgate.yaml');
    writeFileSync(file, configuration(both));
  });
  afterEach(async () => {
    for (const fd of open.splice(0)) closeSocket(fd);
    await end('SIGTERM');
    run('clean-up');
    rmSync(folder, { recursive: true });
  });

  const run = (...words: string[]) => runAs('headgate', words);
  function runAs(program: keyof typeof launchers, words: readonly string[]) {
    const { status, stdout, stderr } = spawnSync(
      'ip',
      ['netns', 'exec', site.lab.netns('director'), process.execPath, launchers[program], ...words],
      { encoding: 'utf8', env: environment() },
    );
    return { status, stdout, stderr };
  }
  async function start(): Promise<void> {
    daemon = site.lab.spawn('director', process.execPath, [launchers.headgate, 'run', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment(),
    });
    let log = '';
    for await (const text of daemon.stderr!.iterator({ destroyOnReturn: false })) {
      log += text;
      if (/ info running /.test(log)) return;
    }
    throw new Error(`the daemon ended: ${log}`);
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    if (!daemon) return;
    const ended = once(daemon, 'exit');
    daemon.kill(signal);
    await ended;
    daemon = undefined;
  }
  /** A command that is running; its end, and what it has said so far. */
  function runOn(...words: string[]) {
    const child = site.lab.spawn('director', process.execPath, [launchers.headgate, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment(),
    });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name]!.on('data', (text) => {
        said[name] += text;
      });
    const ended = once(child, 'close').then(([code]) => code as number);
    return { child, said, ended };
  }
  /** An open connection to the real server of this name. */
  function connectTo(name: string): number {
    for (let attempt = 0; attempt < 8; attempt++) {
      const fd = connectOn(site.lab, 'client', 'stream', target);
      open.push(fd);
      if (readLine(fd) === name) return fd;
    }
    throw new Error(`no connection came to ${name}`);
  }
  const served = (times = 8) =>
    tally(Array.from({ length: times }, () => askTcp(site.lab, 'client', target)));
  /** The weights that ipvsadm lists, by real server. */
  const listed = () =>
    Object.fromEntries(
      [...runAs('ipvsadm', ['-Ln']).stdout.matchAll(/-> 10\.72\.0\.(\d):\d+ +Masq +(\d+)/g)].map(
        ([, n, weight]) => [`real${n}`, Number(weight)],
      ),
    );
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  for (const by of ['a daemon', 'no daemon'] as const)
    it(`with ${by}: its connections go on, new ones go elsewhere, and the command waits for the end`, async () => {
      if (by === 'a daemon') await start();
      else expect(run('apply', file, '--yes').status).toBe(0);
      // Weighted round robin, 3 to 1 (ip_vs_wrr.c).
      expect(served()).toEqual({ real1: 6, real2: 2 });
      const fd = connectTo('real1');
      const drain = runOn('drain', 'echo/real1', '--timeout', '30s', '--reason', 'new disk');
      while (!/to go/.test(drain.said.stderr)) await wait(20);
      const started = performance.now();
      expect(drain.said.stdout).toMatch(/^echo\/real1 is draining: \d+ connections? left\n$/);
      expect(listed()).toEqual({ real1: 0, real2: 1 });
      expect(served()).toEqual({ real2: 8 });
      expect(echoLine(fd, 'still here')).toBe('still here');
      await wait(3000);
      expect(drain.child.exitCode).toBe(null);
      const lines = drain.said.stderr.trimEnd().split('\n');
      expect(lines.at(-1)).toMatch(/^echo\/real1: 1 connection left, \d+ s to go$/);
      // At least a line a second, and no more than one.
      const seconds = (performance.now() - started) / 1000;
      expect(lines.length).toBeGreaterThanOrEqual(2);
      expect(lines.length).toBeLessThanOrEqual(seconds + 2);
      for (const one of open.splice(0)) closeSocket(one);
      expect(await drain.ended).toBe(0);
      expect(drain.said.stdout).toMatch(/no connection left\n$/);
      expect(run('ready', 'real1')).toEqual({
        status: 0,
        stdout: 'echo/real1 is ready, with weight 3\n',
        stderr: '',
      });
      expect(listed()).toEqual({ real1: 3, real2: 1 });
      expect(served()).toEqual({ real1: 6, real2: 2 });
    });

  it('the time is up, and Ctrl-C ends the waiting alone', async () => {
    await start();
    const fd = connectTo('real1');
    const late = run('maintenance', 'real1', '--timeout', '1s');
    expect(late).toMatchObject({ status: 1, stdout: expect.stringMatching(/\n1 connection left\n$/) });
    const again = runOn('maintenance', 'real1', '--timeout', '60s', '-o', 'json');
    while (!/to go/.test(again.said.stderr)) await wait(20);
    again.child.kill('SIGINT');
    expect(await again.ended).toBe(130);
    expect(JSON.parse(again.said.stdout)).toMatchObject({
      end: 'signal',
      overrides: [{ service: 'echo', realServer: 'real1', state: 'maintenance', connections: 1 }],
    });
    expect(listed()).toEqual({ real1: 0, real2: 1 });
    const other = runOn('maintenance', 'real1', '--timeout', '60s');
    while (!/to go/.test(other.said.stderr)) await wait(20);
    expect(run('ready', 'real1').status).toBe(0);
    expect(await other.ended).toBe(1);
    expect(other.said.stdout).toMatch(/echo\/real1 is ready again: somebody else did that\n$/);
    expect(echoLine(fd, 'still here')).toBe('still here');
  });

  it('stays out when the daemon is killed, reloads, or starts again, and whatever ipvsadm writes', async () => {
    await start();
    expect(run('maintenance', 'real1', '--reason', 'new disk').status).toBe(0);
    await end('SIGKILL');
    expect(listed()).toEqual({ real1: 0, real2: 1 });
    await start();
    expect(listed()).toEqual({ real1: 0, real2: 1 });
    writeFileSync(file, configuration({ real1: 5, real2: 2 }));
    const reload = run('reload', '--drop-runtime-changes');
    expect(reload.stdout).toMatch(/^echo\/real1 stays in maintenance: new disk, since \S+Z, by \S+$/m);
    expect(run('plan', file).stdout).toMatch(/^echo\/real1 stays in maintenance/m);
    expect(listed()).toEqual({ real1: 0, real2: 2 });
    const write = (flag: string, ...rest: string[]) =>
      runAs('ipvsadm', [flag, '-t', at(target.address, target.port), '-r', addressOf('real1'), ...rest]);
    expect(write('-e', '-m', '-w', '4').status).toBe(0);
    expect(listed()).toEqual({ real1: 0, real2: 2 });
    await end('SIGTERM');
    // The same without a daemon, and with the server deleted and added again.
    expect([write('-d').status, write('-a', '-m', '-w', '7').status]).toEqual([0, 0]);
    expect(listed()).toEqual({ real1: 0, real2: 2 });
    expect(served()).toEqual({ real2: 8 });
    await start();
    expect(run('ready', 'echo/real1').stdout).toBe(
      'echo/real1 is ready, with weight 7: changed at runtime, the configuration says 5\n',
    );
    expect(listed()).toEqual({ real1: 7, real2: 2 });
    run('reload', '--drop-runtime-changes');
    expect(listed()).toEqual({ real1: 5, real2: 2 });
  });

  it('what was acknowledged stays, whenever the daemon is killed', async () => {
    const from = startOf('OVERRIDES_START');
    const random = randomNumbers(from);
    const rounds = process.env.LONG ? 60 : 5;
    let state = 'ready';
    for (let round = 0; round < rounds; round++) {
      await start();
      const label = `OVERRIDES_START=${from}, round ${round}`;
      const asked = random.pick(['drain', 'maintenance', 'ready'] as const);
      const command = runOn(asked, 'real1');
      await Promise.race([command.ended, wait(random.below(1500))]);
      await end('SIGKILL');
      // Without a word from the daemon it goes on under the lock, or fails: then both are right.
      const done = (await command.ended) === 0;
      await start();
      const { overrides } = JSON.parse(run('plan', file, '-o', 'json').stdout);
      const found: string = overrides[0]?.state ?? 'ready';
      expect(done ? [asked] : [asked, state], label).toContain(found);
      expect(listed(), label).toEqual({ real1: found === 'ready' ? 3 : 0, real2: 1 });
      state = found;
      await end('SIGTERM');
    }
    await start();
    run('ready', 'real1');
    expect(listed()).toEqual({ real1: 3, real2: 1 });
    expect(JSON.parse(run('plan', file, '-o', 'json').stdout)).toMatchObject({ steps: [], kept: [] });
  }, 900_000);

  it('the last one of a service, and all services, want a word', async () => {
    await start();
    expect(run('drain', 'real1').status).toBe(0);
    expect(run('drain', 'real2')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /Cannot drain "real2" without a word: echo is left without a real server for new clients \[HG_NEEDS_YES\]\n {2}next: headgate drain real2 --yes/,
      ),
    });
    expect(listed()).toEqual({ real1: 0, real2: 1 });
    expect(run('drain', 'real2', '--yes').status).toBe(0);
    expect(run('drain', 'rael2')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('did you mean "real2"?'),
    });
    expect(run('clear')).toMatchObject({ status: 1, stderr: expect.stringContaining('--yes') });
    expect(listed()).toEqual({ real1: 0, real2: 0 });
    expect(run('clear', '--yes')).toEqual({
      status: 0,
      stdout: expect.stringMatching(
        /^Deleted 1 virtual service with 2 real servers and \d+ connections?\.\n$/,
      ),
      stderr: expect.stringContaining('headgate reload --drop-runtime-changes'),
    });
    expect(listed()).toEqual({});
    run('reload');
    expect(listed()).toEqual({});
    run('reload', '--drop-runtime-changes');
    expect(listed()).toEqual({ real1: 0, real2: 0 });
  });
});
