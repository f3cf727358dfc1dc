import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';
import type { Site } from './site.ts';
import { openPair, type Pair } from './two-directors.ts';

/** Two instances in a group, each with all programs keepalived would run; what they are told goes to `said`. */
const configuration = (folder: string, more = '') => {
  const programs = ['master', 'backup', 'fault', 'stop']
    .map((state) => `  notify_${state} "${folder}/tell own ${state}"\n`)
    .join('');
  const instance = (name: string, routerId: number, vip: string) => `
vrrp_instance ${name} {
  state BACKUP
  interface eth0
  virtual_router_id ${routerId}
  priority 100
  advert_int 0.1
  virtual_ipaddress {
    ${vip}
  }
${programs}  notify "${folder}/tell all"
${more}}
`;
  return `global_defs {
  vrrp_version 3
  script_user root
  vrrp_notify_fifo ${folder}/fifo
}
${instance('one', 51, '10.77.0.100')}${instance('two', 52, '10.77.0.101')}
vrrp_sync_group both {
  group {
    one
    two
  }
  notify "${folder}/tell group"
}
`;
};

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'keepalived',
)('programs of VRRP', () => {
  let a: Site;
  let b: Site;
  let pair: Pair;
  let started: ChildProcess[];
  beforeEach(() => {
    pair = openPair();
    ({ a, b } = pair);
    started = [];
    for (const { folder } of [a, b]) {
      writeFileSync(join(folder, 'tell'), `#!/bin/sh\necho "$@" >> ${folder}/said\n`);
      chmodSync(join(folder, 'tell'), 0o755);
    }
  });
  afterEach(() => {
    for (const child of started) child.kill('SIGKILL');
    pair.close();
  });
  const said = ({ folder }: Site): string[] =>
    existsSync(join(folder, 'said')) ? readFileSync(join(folder, 'said'), 'utf8').trim().split('\n') : [];
  /** What comes through the pipe, once somebody has made it. */
  function listen({ folder }: Site): () => string[] {
    const path = join(folder, 'fifo');
    const child = spawn('sh', ['-c', `while ! test -p ${path}; do sleep 0.01; done; exec cat ${path}`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    started.push(child);
    let text = '';
    child.stdout.on('data', (more) => {
      text += more;
    });
    return () => text.trim().split('\n');
  }

  it('are told what keepalived tells them, by the same file', async () => {
    const ours = join(a.folder, 'keepalived.conf');
    writeFileSync(ours, configuration(a.folder));
    const states = (site: Site) => said(site).filter((line) => line.startsWith('all INSTANCE')).length;
    // One after the other: each is alone and becomes master.
    const theirPipe = listen(b);
    const keepalived = pair.startKeepalived(b, configuration(b.folder));
    await until(() => said(b).some((line) => line.startsWith('group GROUP both MASTER')), 'it is master');
    await until(() => states(b) >= 4, 'both instances were told of');
    keepalived.process.kill('SIGTERM');
    await once(keepalived.process, 'exit');
    const ourPipe = listen(a);
    a.write(a.run('headgate', 'import', ours).stdout);
    const running = await pair.start(a);
    await until(() => said(a).some((line) => line.startsWith('group GROUP both MASTER')), 'it is master');
    await until(() => states(a) >= 4, 'both instances were told of');
    expect(await running.end('SIGTERM')).toBe(0);
    // The order of instances is chance there: programs run at once. And members of a group begin in FAULT, for each other.
    const sorted = (lines: readonly string[]) => lines.filter((line) => !/fault/i.test(line)).toSorted();
    expect(said(a).join()).not.toMatch(/fault/i);
    expect(sorted(said(a))).toEqual(sorted(said(b)));
    expect(sorted(ourPipe())).toEqual(sorted(theirPipe()));
    expect(ourPipe()).toContain('INSTANCE "one" MASTER 100');
    expect(existsSync(join(a.folder, 'fifo'))).toBe(false);
  });

  it('run as whom they shall, and files and processes count', async () => {
    writeFileSync(join(a.folder, 'said'), '');
    chmodSync(join(a.folder, 'said'), 0o666);
    chmodSync(a.folder, 0o755);
    writeFileSync(join(a.folder, 'tell'), `#!/bin/sh\nid -un >> ${a.folder}/said\n`);
    const process = spawn('sleep', ['4711'], { stdio: 'ignore' });
    started.push(process);
    a.write(`
virtualServices: []
failover:
  user: nobody
  vrrp:
    - name: front
      interface: eth0
      routerId: 51
      priority: 100
      advertisementInterval: 100ms
      addresses: [10.77.0.100]
      trackFiles: [{ name: load }]
      trackProcesses: [{ name: sleeper, weight: 20 }]
      notify: { master: [${a.folder}/tell] }
  files: [{ name: load, path: ${a.folder}/load }]
  processes: [{ name: sleeper, command: [sleep, "4711"] }]
`);
    const running = await pair.start(a);
    const priority = (): number =>
      JSON.parse(a.run('headgate', 'status', '-o', 'json').stdout).vrrp[0]?.priority;
    await until(() => said(a).length > 0 && said(a)[0] !== '', 'the program was run');
    expect(said(a)).toEqual(['nobody']);
    await until(() => priority() === 120, 'the process counts');
    process.kill('SIGKILL');
    await until(() => priority() === 100, 'the process is missed');
    writeFileSync(join(a.folder, 'load'), '-30\n');
    await until(() => priority() === 70, 'the number counts');
    writeFileSync(join(a.folder, 'load'), '-300\n');
    await running.logged(/state=fault reason="file load: its number is -300"/);
  });
});
