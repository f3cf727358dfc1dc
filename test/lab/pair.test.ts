import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { listNamedNetns, netnsPath, processesInNetns, spawnInNetns, withNetns } from '../../src/sys/netns.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');
const lab = `tp${process.pid.toString(36)}`;

function headgate(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [launcher, 'lab', ...words], { encoding: 'utf8', timeout: 120_000 });
}

function must(...words: string[]): string {
  const { status, stdout, stderr } = headgate(...words);
  if (status !== 0) throw new Error(`headgate lab ${words.join(' ')}: ${status} ${stderr}${stdout}`);
  return stdout;
}

const status = () => JSON.parse(headgate('status', lab, '-o', 'json').stdout);
const netns = (node: string) => `hglab-${lab}.${node}`;
const onNode = (node: string, ...command: string[]) => headgate('exec', '--lab', lab, node, '--', ...command);
/** Who answers `times` new connections, one after the other; '' where nobody does. */
const ask = (address: string, times: number) =>
  onNode(
    'client',
    ...['curl', '-s', '-m', '10', '-H', 'Connection: close', '-w', '\\n'],
    `http://${address}/[1-${times}]`,
  )
    .stdout.split('\n')
    .filter((line) => line !== '');
/** One connection of the client's: each call asks once more over it, and resolves to who answers. */
function askAgain(address: string): () => Promise<string> {
  const client = `
    const socket = require('node:net').connect(80, '${address}');
    process.stdin.on('data', () => socket.write('GET / HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n'));
    socket.on('data', (bytes) => process.stdout.write(bytes)).on('close', () => process.exit());`;
  const child = spawnInNetns(netns('client'), process.execPath, ['-e', client], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let heard = '';
  child.stdout!.on('data', (text) => {
    heard += text;
  });
  return async () => {
    heard = '';
    child.stdin!.write('\n');
    await until(() => /\r\n\r\n\w+/.test(heard) || child.exitCode !== null, 'an answer', 20_000);
    return /\r\n\r\n(\w+)/.exec(heard)?.[1] ?? heard;
  };
}
/** Connections a director has scheduled, by what its counters say. */
const scheduled = (node: string) =>
  Number(/^TCP +\S+ +(\d+)/m.exec(onNode(node, 'ipvsadm', '-L', '-n', '--stats', '--exact').stdout)![1]);

/** Both directors are real servers as well, and there are no others. */
const local = {
  name: 'local',
  nodes: [
    { name: 'client', role: 'client' },
    { name: 'one', role: 'director' },
    { name: 'two', role: 'director' },
  ],
  links: [
    {
      name: 'lan',
      ports: [
        { node: 'client', addresses: ['10.9.0.9/24'] },
        { node: 'one', addresses: ['10.9.0.1/24'] },
        { node: 'two', addresses: ['10.9.0.2/24'] },
      ],
    },
  ],
  services: [
    {
      ...{ address: '10.9.0.100', port: 80, scheduler: 'rr', method: 'direct-routing' },
      realServers: [
        { node: 'one', address: '10.9.0.1' },
        { node: 'two', address: '10.9.0.2' },
      ],
    },
  ],
};

requires(
  'root',
  'netns',
  'bpf',
  'curl',
  'ip',
)('two directors of a lab', () => {
  afterEach(() => {
    headgate('down', lab);
  });

  it('stand in for each other: killed, and back', async () => {
    const up = must('up', 'nat-pair', '--name', lab);
    expect(up).toMatch(/^director director1 {2}.* {2}MASTER$/m);
    expect(up).toMatch(/^director director2 {2}.* {2}BACKUP$/m);
    expect(new Set(ask('172.16.16.172', 4))).toEqual(new Set(['rs1', 'rs2']));
    const again = askAgain('172.16.16.172');
    const server = await again();
    expect(['rs1', 'rs2']).toContain(server);
    must('kill', 'director1', '--lab', lab);
    expect(new Set(ask('172.16.16.172', 4))).toEqual(new Set(['rs1', 'rs2']));
    // The connection of before, through the other director.
    expect(await again()).toBe(server);
    expect(status()).toMatchObject({
      director: 'director2',
      nodes: expect.arrayContaining([
        expect.objectContaining({ name: 'director1', state: 'killed', vrrp: 'backup' }),
        expect.objectContaining({ name: 'director2', vrrp: 'master', standby: false }),
      ]),
    });
    must('restore', 'director1', '--lab', lab);
    await until(() => status().director === 'director1', 'the first one has it again');
    expect(new Set(ask('172.16.16.172', 4))).toEqual(new Set(['rs1', 'rs2']));
    expect(await again()).toBe(server);
    must('down', lab);
    expect(listNamedNetns().filter((name) => name.startsWith(`hglab-${lab}.`))).toEqual([]);
  });

  it('that are its real servers never balance again what the master has balanced', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hg-lab-'));
    try {
      writeFileSync(join(folder, 'local.json'), JSON.stringify(local));
      must('up', join(folder, 'local.json'), '--name', lab);
      const otherThan = (name?: string) => (name === 'one' ? 'two' : 'one');
      const balancedBy = (master: string, other: string) => {
        const before = [scheduled(master), scheduled(other)] as const;
        const names = ask('10.9.0.100', 10);
        // Round robin: in turn, and so by the table of the master alone.
        const inTurn = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? names[0] : otherThan(names[0])));
        expect({ names, scheduled: [scheduled(master), scheduled(other)] }).toEqual({
          names: inTurn,
          scheduled: [before[0] + 10, before[1]],
        });
      };
      balancedBy('one', 'two');
      // A hand-over, and back: both have tables full of what they scheduled before.
      const [daemon] = processesInNetns(netnsPath(netns('one'))).filter((pid) =>
        readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0run\0'),
      );
      process.kill(daemon!, 'SIGTERM');
      await until(() => status().director === 'two', 'the other one is master');
      balancedBy('two', 'one');
      must('restore', 'one', '--lab', lab);
      await until(() => status().director === 'one', 'the first one has it again');
      balancedBy('one', 'two');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const more = process.env.EXTRA_FIXTURES;
  const pair = ['MASTER', 'BACKUP'].map((role) => join(more ?? '', '003', `keepalived.conf.${role}`));
  it.each(more && pair.every((file) => existsSync(file)) ? [pair] : [])(
    'run the files of EXTRA_FIXTURES as they are: %s, %s',
    async () => {
      must('up', 'dr-keepalived', '--name', lab);
      const nodes = ['master', 'backup'] as const;
      for (const node of nodes) {
        for (const pid of processesInNetns(netnsPath(netns(node)))) process.kill(pid, 'SIGKILL');
        onNode(node, 'ip', 'addr', 'del', '192.168.200.254/32', 'dev', 'eth0');
      }
      const logs = { master: '', backup: '' };
      const start = (node: (typeof nodes)[number]) => {
        const file = pair[nodes.indexOf(node)]!;
        const child = spawnInNetns(netns(node), process.execPath, [launcher, 'run', file], {
          stdio: ['ignore', 'ignore', 'pipe'],
          env: { ...process.env, HEADGATE_CONNECTIONS: '4096' },
        });
        child.stderr!.on('data', (text) => {
          logs[node] += text;
        });
        return child;
      };
      const announced = watchAnnouncements('192.168.200.254');
      start('backup');
      // "Entering MASTER STATE", and gratuitous ARP at once and five seconds later.
      const alone = /instance=VI_1 state=master reason="no master was heard"/;
      await until(() => alone.test(logs.backup), 'the backup is alone', 20_000);
      await until(
        () => announced.times.at(-1)! - announced.times[0]! > 4000,
        'it announces itself again',
        20_000,
      );
      announced.end();
      const first = start('master');
      // "Received higher prio advert", "Entering BACKUP STATE".
      await until(
        () => /state=backup reason="192\.168\.200\.101 has priority 100 against 50"/.test(logs.backup),
        'it yields',
        20_000,
      );
      const higher = /instance=VI_1 state=master reason="priority 100 against 50 of 192\.168\.200\.102"/;
      await until(() => higher.test(logs.master), 'it says why', 20_000);
      expect(new Set(ask('192.168.200.254', 4))).toEqual(new Set(['web1', 'web2']));
      first.kill('SIGTERM');
      const gaveUp = /state=master reason="192\.168\.200\.101 gave up"/;
      await until(() => gaveUp.test(logs.backup), 'it takes what was given up', 20_000);
      expect(new Set(ask('192.168.200.254', 4))).toEqual(new Set(['web1', 'web2']));
    },
  );

  /** Says when gratuitous ARP requests for an address came by the client, milliseconds. */
  function watchAnnouncements(address: string): { readonly times: readonly number[]; end(): void } {
    const path = netnsPath(netns('client'));
    const index = withNetlink({ netns: path }, (netlink) => linkIndex(netlink, 'eth0'));
    const socket = withNetns(path, () => openFrameSocket(index, { protocol: 0x0806 }));
    const bytes = Buffer.from(address.split('.').map(Number));
    const times: number[] = [];
    const timer = setInterval(() => {
      for (let frame = socket.receive(); frame; frame = socket.receive())
        if (frame.bytes.subarray(28, 32).equals(bytes) && frame.bytes.subarray(38, 42).equals(bytes))
          times.push(performance.now());
    }, 20);
    return {
      times,
      end() {
        clearInterval(timer);
        socket.close();
      },
    };
  }
});
