import type { ChildProcess } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { addresses, type HealthSite, openHealthSite, vip, webConfiguration } from './health-site.ts';
import { launchers } from './site.ts';

const configuration = (agent: object, servers: Readonly<Record<string, object>> = {}) =>
  webConfiguration(
    { scheduler: 'wrr', agent: { interval: '200ms', ...agent } },
    { web1: { weight: 100, ...servers.web1 }, web2: { weight: 100, ...servers.web2 } },
  );

/**
 * Says what stands in a file, to everybody who connects, and hangs up: an agent as people write it for HAProxy. Prints what
 * it said, a JSON string a line.
 */
const foreign = (file: string) => `
require('net').createServer((socket) => {
  const words = require('fs').readFileSync('${file}', 'utf8');
  socket.on('error', () => undefined);
  socket.end(words, () => console.log(JSON.stringify(words)));
}).listen(9177, () => console.log('up'));`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'curl',
)('agents of real servers', () => {
  let site: HealthSite;
  let agents: ChildProcess[] = [];
  beforeAll(() => {
    site = openHealthSite('ag');
  });
  afterAll(() => site?.close());
  beforeEach(async () => {
    await site.serve('web1');
    await site.serve('web2');
  });
  afterEach(async () => {
    for (const agent of agents) agent.kill('SIGKILL');
    agents = [];
    await site.end('SIGTERM');
    site.run('headgate', 'clean-up');
  });

  const file = (name: string) => join(site.file, '..', `${name}.words`);
  /** What agents of others have printed, by name. */
  const printed: Record<string, string> = {};
  /** In one piece: it is read at any moment. */
  const says = (name: string, text: string) => {
    writeFileSync(`${file(name)}.new`, text);
    renameSync(`${file(name)}.new`, file(name));
  };
  /** Says it, and waits until it was taken: who asks again has taken the answer before. */
  const saysOften = async (name: string, text: string) => {
    const times = () => (printed[name] ?? '').split(`${JSON.stringify(text)}\n`).length - 1;
    const before = times();
    says(name, text);
    await expect.poll(times, { timeout: 60_000 }).toBeGreaterThan(before + 1);
  };
  const up = async (agent: ChildProcess) => {
    agents.push(agent);
    await new Promise((done) => (agent.stdout ?? agent.stderr)!.once('data', done));
    return agent;
  };
  const serveWords = (name: 'web1' | 'web2', text: string) => {
    says(name, text);
    const agent = site.lab.spawn(name, process.execPath, ['-e', foreign(file(name))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    agent.stdout!.on('data', (line) => {
      printed[name] = `${printed[name] ?? ''}${line}`;
    });
    return up(agent);
  };
  const realServer = (name: string) => site.stateOf(name)!;
  const events = () => site.run('headgate', 'events').stdout;

  it('decide as HAProxy has it, word by word, over a configuration that stays as it is', async () => {
    await serveWords('web1', '40% #cpu 60%\n');
    site.write(configuration({}));
    await site.start();
    await site.until(site.listed, (rules) => rules.web1 === 40 && rules.web2 === 100);
    expect(realServer('web1')).toMatchObject({ state: 'ready', weight: 40 });
    expect(realServer('web1').reason).toContain('weight 40 of 100: agent says 40%: cpu 60%');
    expect(site.run('headgate', 'plan', site.file)).toMatchObject({ status: 0 });
    expect(site.run('headgate', 'describe', 'web/web1').stdout).toMatch(/agent +weight x 0\.4, last answer/);
    const weighs = async (words: string, weight: number | undefined, state: string) => {
      await saysOften('web1', words);
      await site.until(site.listed, (rules) => rules.web1 === weight);
      await site.until(
        () => realServer('web1').state,
        (found) => found === state,
      );
    };
    await weighs('drain\n', 0, 'drained');
    // It has not said "ready".
    await weighs('75%\r', 0, 'drained');
    await weighs('ready', 75, 'ready');
    await weighs('maint #new disk', 0, 'maintenance');
    expect(realServer('web1').reason).toContain('agent says maint: new disk');
    await weighs('READY,150%\tup', 150, 'ready');
    await weighs('down #no answer from php\n', undefined, 'down');
    expect(realServer('web1').reason).toContain('agent says down');
    expect(site.get()).toBe('web2');
    expect(site.run('headgate', 'explain', '10.86.0.1', `${vip}:80`).stdout).toMatch(
      /10\.87\.0\.1:80 .*agent says down/,
    );
    // Nor "up".
    await saysOften('web1', '100%\n');
    expect(site.listed()).toEqual({ web2: 100 });
    await weighs('up', 100, 'ready');
    await weighs('0%', 0, 'drained');
    // What ipvsadm writes is what its share is of.
    await weighs('50%', 50, 'ready');
    site.run('ipvsadm', '-e', '-t', `${vip}:80`, '-r', `${addresses.web1}:80`, '-m', '-w', '60');
    await site.until(site.listed, (rules) => rules.web1 === 30);
    // A person's word stays, whatever the agent says of it.
    site.run('headgate', 'drain', 'web/web1');
    await weighs('ready up 100%', 0, 'drained');
    site.run('headgate', 'ready', 'web/web1');
    expect(events()).toMatch(/agent-said {2}web\/web1: its agent says/);
    expect(events()).not.toContain('40%');
    expect(site.metrics()).toMatch(/headgate_real_server_agent_answers\{.*real_server="web1"\} 1/);
    expect(site.metrics()).toMatch(/headgate_real_server_agent_answers\{.*real_server="web2"\} 0/);
  });

  it('give back the whole weight when they are silent, and keep what they said over a restart of the daemon', async () => {
    const agent = await serveWords('web1', '20%\n');
    await serveWords('web2', 'drain\n');
    site.write(configuration({}));
    await site.start();
    await site.until(site.listed, (rules) => rules.web1 === 20 && rules.web2 === 0);
    await site.end('SIGKILL');
    expect(site.listed()).toEqual({ web1: 20, web2: 0 });
    expect(realServer('web2')).toMatchObject({ state: 'drained' });
    await site.start();
    expect(site.listed()).toEqual({ web1: 20, web2: 0 });
    agent.kill('SIGKILL');
    await site.until(site.listed, (rules) => rules.web1! > 95);
    expect(realServer('web1').reason).toContain('its agent does not answer');
    expect(site.run('headgate', 'status').stdout).toContain(
      'its agent does not answer: connect: connection refused',
    );
    // Taken out of the file, nothing is left of it.
    site.write(configuration({}, { web1: { agent: 'none' }, web2: { agent: 'none' } }));
    await site.until(site.listed, (rules) => rules.web1 === 100 && rules.web2 === 100);
  });

  it('of ours tell their load: who has more of it gets less, and the sum stays', async () => {
    const script = join(site.file, '..', 'busy');
    writeFileSync(script, '#!/bin/sh\necho "5% #busy with a backup"\n', { mode: 0o755 });
    const ours = (name: 'web1' | 'web2', ...words: string[]) =>
      up(
        site.lab.spawn(
          name,
          process.execPath,
          [launchers.headgate, 'agent', 'serve', '--allow', '10.87.0.254', ...words],
          {
            stdio: ['ignore', 'ignore', 'pipe'],
          },
        ),
      );
    await ours('web1', '--script', script);
    await serveWords('web2', '90%\n');
    site.write(configuration({ weights: 'load' }));
    await site.start();
    await site.until(site.listed, (rules) => rules.web1! <= 80 && rules.web2! >= 120, 30_000);
    const { web1 = 0, web2 = 0 } = site.listed();
    expect(Math.abs(web1 + web2 - 200)).toBeLessThanOrEqual(6);
    expect(realServer('web1').reason).toMatch(
      /weight \d+ of 100: \d+% by its load of [012]\.\d\d: busy with a backup/,
    );
    expect(site.metrics()).toMatch(/headgate_real_server_load\{.*real_server="web1"\} [012]/);
    expect(events()).not.toMatch(/by its load|agent says \d/);
    // A connection for each: curl would go on with the first.
    const urls = Array.from({ length: 40 }, () => `http://${vip}/`);
    const answers = site.lab.run('client', 'curl', [
      '-s',
      '-H',
      'Connection: close',
      '-w',
      '\\n',
      ...urls,
    ]).stdout;
    const [ofOne, ofTwo] = ['web1', 'web2'].map((name) => answers.split(name).length - 1) as [number, number];
    expect(ofOne + ofTwo).toBe(40);
    expect(ofOne).toBeLessThan(ofTwo);
    const shown = site.lab.run('web1', process.execPath, [launchers.headgate, 'agent', 'status']).stdout;
    expect(shown).toMatch(/Tells its load on .*:9177 \(process \d+\), to this host, 10\.87\.0\.254\./);
    expect(shown).toMatch(/answer: up \d+% #busy with a backup/);
    // The client is not of those who may ask.
    const asked = site.lab.run('client', 'curl', ['-s', '-m', '2', `telnet://${addresses.web1}:9177`], {
      input: '',
    });
    expect(asked.stdout).toBe('');
    const agent = agents[0]!;
    agent.kill('SIGTERM');
    expect(await new Promise((done) => agent.once('exit', done))).toBe(0);
  });
});
