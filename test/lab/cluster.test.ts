import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInClusters } from '../../src/lab/built-in.ts';
import { bringUp } from '../../src/lab/lifecycle.ts';
import { listNamedNetns } from '../../src/sys/netns.ts';
import { until } from '../ha/link.ts';
import { requires } from '../requirements.ts';

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');
/** Names of this run alone. */
const [one, two] = ['a', 'b'].map((letter) => `t${letter}${process.pid.toString(36)}`) as [string, string];

function headgate(...words: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [launcher, 'lab', ...words], { encoding: 'utf8', timeout: 60_000 });
}

function must(...words: string[]): string {
  const { status, stdout, stderr } = headgate(...words);
  if (status !== 0) throw new Error(`headgate lab ${words.join(' ')}: ${status} ${stderr}${stdout}`);
  return stdout;
}

const json = (...words: string[]) => JSON.parse(headgate(...words, '-o', 'json').stdout);
const onNode = (lab: string, node: string, ...command: string[]) =>
  headgate('exec', '--lab', lab, node, '--', ...command);
const ask = (lab: string, address: string, times: number) =>
  onNode(
    lab,
    'client',
    ...['curl', '-s', '-m', '10', '-H', 'Connection: close'],
    `http://${address}/[1-${times}]`,
  )
    .stdout.trim()
    .split('\n');
const netnsOf = (lab: string) => listNamedNetns().filter((name) => name.startsWith(`hglab-${lab}.`));

/** Processes in any of these namespaces, by the inode of their network namespace as the kernel shows it. */
function processesIn(inodes: ReadonlySet<string>): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    const link = spawnSync('readlink', [`/proc/${pid}/ns/net`], { encoding: 'utf8' }).stdout.trim();
    return inodes.has(link);
  });
}

const pins = () => (existsSync('/run/headgate/bpf') ? readdirSync('/run/headgate/bpf') : []);
const mounts = () =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes('hglab-'));

const service6 = {
  address: 'fd00:b::100',
  scheduler: 'rr',
  method: 'direct-routing',
  realServers: [
    { node: 'rs1', address: 'fd00:b::11' },
    { node: 'rs2', address: 'fd00:b::12' },
  ],
};
const six = {
  name: 'six',
  nodes: [
    { name: 'client', role: 'client', gateway: 'fd00:a::1' },
    { name: 'router', role: 'router' },
    { name: 'lb', role: 'director', gateway: 'fd00:b::1' },
    { name: 'rs1', role: 'real-server', gateway: 'fd00:b::1' },
    { name: 'rs2', role: 'real-server', gateway: 'fd00:b::1' },
  ],
  links: [
    {
      name: 'front',
      ports: [
        { node: 'client', addresses: ['fd00:a::2/64'] },
        { node: 'router', device: 'outside', addresses: ['fd00:a::1/64'] },
      ],
    },
    {
      name: 'back',
      ports: [
        { node: 'router', addresses: ['fd00:b::1/64'] },
        { node: 'lb', addresses: ['fd00:b::2/64'] },
        { node: 'rs1', addresses: ['fd00:b::11/64'] },
        { node: 'rs2', addresses: ['fd00:b::12/64'] },
      ],
    },
  ],
  services: [
    { ...service6, port: 80 },
    { ...service6, port: 5300, protocol: 'udp' },
  ],
};

requires(
  'root',
  'netns',
  'bpf',
  'curl',
  'ip',
)('headgate lab', () => {
  afterAll(() => {
    for (const lab of [one, two]) headgate('down', lab);
  });

  describe('a lab of each method', () => {
    let pinsBefore: string[];
    let made: ReturnType<typeof headgate>;
    const inodes = new Set<string>();
    beforeAll(() => {
      pinsBefore = pins();
      made = headgate('up', 'nat', '--name', one);
      must('up', 'dr-ipvsadm', '--name', two);
      for (const lab of [one, two])
        for (const name of netnsOf(lab))
          inodes.add(
            execFileSync('ip', ['netns', 'exec', name, 'readlink', '/proc/self/ns/net'], {
              encoding: 'utf8',
            }).trim(),
          );
    });

    it('says beside its answer what it is at: it takes seconds', () => {
      expect(made).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^The lab "/),
        stderr:
          'Building 6 nodes in network namespaces\nSetting up the real servers and the director\nAsking each service once\n',
      });
    });

    it('stands beside the other, and every real server takes its turn', () => {
      expect(new Set(ask(one, '172.16.16.172', 8))).toEqual(new Set(['rs1', 'rs2', 'rs3', 'rs4']));
      const shared = ask(two, '192.168.7.110', 4);
      expect(new Set(shared)).toEqual(new Set(['rs1', 'rs2']));
      expect(shared[0]).toBe(shared[2]);
    });

    it('greets where it does not serve pages', () => {
      const read = 'exec 3<>/dev/tcp/192.168.7.110/23; read -r line <&3; echo "$line"';
      const names = [1, 2].map(() => onNode(two, 'client', 'bash', '-c', read).stdout.trim());
      expect(names.toSorted()).toEqual(['rs1', 'rs2']);
    });

    it('gives commands of a node our own words on their PATH, and their exit code back', () => {
      expect(onNode(one, 'director', 'ipvsadm', '-L', '-n').stdout).toMatch(
        /TCP {2}172\.16\.16\.172:80 rr\n/,
      );
      expect(onNode(one, 'rs1', 'sh', '-c', 'exit 7').status).toBe(7);
      expect(onNode(one, 'rs1', 'sh', '-c', 'kill -9 $$').status).toBe(128 + 9);
      const missing = onNode(one, 'rs1', 'no-such-program');
      expect(missing.stderr).toContain('Cannot run "no-such-program": ENOENT');
      expect(missing.status).toBe(1);
    });

    it('is drawn with what the director counts', () => {
      const served = () =>
        json('status', one).services[0].realServers.map(
          (server: { connections: number }) => server.connections,
        );
      const before = served();
      ask(one, '172.16.16.172', 4);
      expect(served()).toEqual(before.map((count: number) => count + 1));
      expect(must('status', one)).toMatch(/-> rs1 {2}192\.168\.7\.21:80 {2}weight 1 {2}active 0 /);
    });

    it('shows rates while something flows', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'hg-lab-'));
      const wanted = join(folder, 'wanted');
      writeFileSync(wanted, '');
      const flow = spawn(process.execPath, [
        ...[launcher, 'lab', 'exec', '--lab', one, 'client', '--', 'sh', '-c'],
        `while [ -e ${wanted} ]; do curl -s -m 2 -o /dev/null http://172.16.16.172/; sleep 0.02; done`,
      ]);
      const ended = once(flow, 'exit');
      const rates = (): number[] =>
        json('status', one).services[0].realServers.map(
          (server: { rates: { connections: number } }) => server.rates.connections,
        );
      try {
        await until(() => rates().every((rate) => rate > 0), 'each real server has a rate', 60_000);
      } finally {
        // The loop ends by itself: killed, its command would leave it running beside the next test.
        rmSync(folder, { recursive: true });
        await ended;
      }
    });

    it('loses a node that is killed and has it back when it is restored', () => {
      must('kill', 'rs2', '--lab', two);
      const killed = headgate('status', two);
      expect(killed.status).toBe(1);
      expect(killed.stdout).toMatch(/-> rs2 .*KILLED/);
      expect(killed.stdout).toContain('node rs2: killed; next: headgate lab restore rs2');
      expect(ask(two, '192.168.7.110', 4).filter((name) => name === 'rs1')).toHaveLength(2);
      must('restore', 'rs2', '--lab', two);
      // The director asks for a real server's MAC address again within seconds.
      const names = () => new Set(ask(two, '192.168.7.110', 4));
      return expect.poll(names, { timeout: 20_000, interval: 500 }).toEqual(new Set(['rs1', 'rs2']));
    });

    it('has the way out of a restored node again', () => {
      const route = () => onNode(one, 'rs1', 'ip', 'route', 'show', 'default').stdout;
      const before = route();
      expect(before).toContain('192.168.7.1');
      must('kill', 'rs1', '--lab', one);
      expect(route()).toBe('');
      must('restore', 'rs1', '--lab', one);
      expect(route()).toBe(before);
    });

    it('loses the carrier of a cut cable, not the interface', () => {
      const flags = () => JSON.parse(onNode(two, 'rs1', 'ip', '-j', 'link', 'show', 'eth0').stdout)[0].flags;
      must('cut', 'lan:rs1', '--lab', two);
      expect(flags()).toEqual(expect.arrayContaining(['NO-CARRIER', 'UP']));
      expect(headgate('status', two).stdout).toContain(
        'interface eth0 of rs1: cut off; next: headgate lab mend lan:rs1',
      );
      must('mend', 'lan', '--lab', two);
      expect(flags()).toEqual(expect.arrayContaining(['LOWER_UP', 'UP']));
    });

    it('says that a real server does not answer ARP', async () => {
      onNode(two, 'rs2', 'ip', 'addr', 'del', '192.168.7.12/24', 'dev', 'eth0');
      onNode(two, 'director', 'ip', 'neigh', 'flush', 'all');
      const { stdout, status } = headgate('status', two);
      onNode(two, 'rs2', 'ip', 'addr', 'add', '192.168.7.12/24', 'dev', 'eth0');
      expect(stdout).toContain(
        "real server rs2 192.168.7.12:23: unreachable, nobody answers director's ARP for 192.168.7.12",
      );
      expect(status).toBe(1);
    });

    it('says that an interface was renamed', () => {
      for (const [from, to] of [
        ['eth0', 'lan7'],
        ['lan7', 'eth0'],
      ] as const) {
        onNode(
          one,
          'rs3',
          'sh',
          '-c',
          `ip link set ${from} down; ip link set ${from} name ${to}; ip link set ${to} up`,
        );
        if (to === 'eth0') continue;
        expect(headgate('kill', 'rs3', '--lab', one).stderr).toContain(
          'Cannot change interface "eth0" of "rs3": it was renamed to "lan7" [HG_LAB_FAILED]',
        );
        expect(headgate('status', one).stdout).toContain('interface eth0 of rs3: it was renamed to "lan7"');
      }
    });

    it.each([
      [['up', 'nat', '--name', one], `Cannot set up the lab "${one}": it stands already [HG_LAB_STANDS]`],
      [['down', 'no-such'], 'Cannot find the lab "no-such": there is '],
      [['kill', 'rs9', '--lab', one], 'Cannot find the node "rs9"'],
      [
        ['cut', 'middle', '--lab', one],
        'there is front (client, director); back (director, rs1, rs2, rs3, rs4)',
      ],
      [['up', 'natt'], 'did you mean "headgate lab up nat"?'],
      [['up', 'nat', '--name', 'a-name-that-is-far-too-long'], 'wanted 1 to 20 lower-case letters'],
      [['exec', '--lab', one, 'rs1', '--'], 'Cannot run nothing on "rs1": wanted a command after "--"'],
    ])('refuses %j in a sentence', (words, sentence) => {
      const { status, stderr } = headgate(...words);
      expect(stderr).toContain(sentence);
      expect(stderr).toMatch(/\n {2}next: .+\n$/);
      expect(status).toBeGreaterThan(0);
      expect(status).toBeLessThan(3);
    });

    it('is nobody else’s to look at', () => {
      const { status, stderr } = spawnSync(
        'setpriv',
        ['--reuid=65534', '--clear-groups', process.execPath, launcher, 'lab', 'status', one],
        { encoding: 'utf8' },
      );
      expect(stderr).toContain('[HG_NOT_ROOT]');
      expect(status).toBe(1);
    });

    it('leaves nothing when it is taken down', () => {
      for (const lab of [one, two]) must('down', lab);
      expect([...netnsOf(one), ...netnsOf(two), ...mounts()]).toEqual([]);
      expect(processesIn(inodes)).toEqual([]);
      expect(pins().filter((name) => !pinsBefore.includes(name))).toEqual([]);
      for (const lab of [one, two]) {
        expect(existsSync(`/run/headgate/lab/${lab}`)).toBe(false);
        expect(existsSync(`/run/headgate/lab-${lab}.lock`)).toBe(false);
      }
    });
  });

  it('is taken down whole after its builder was killed, wherever that was', async () => {
    const pinsBefore = pins();
    const begun = () => existsSync(`/run/headgate/lab/${one}`);
    for (let delayMs = 0; delayMs <= 640; delayMs += 80) {
      const child = spawn(process.execPath, [launcher, 'lab', 'up', 'nat', '--name', one], {
        stdio: 'ignore',
      });
      await until(begun, 'it builds', 60_000);
      await new Promise((done) => setTimeout(done, delayMs));
      child.kill('SIGKILL');
      if (child.exitCode === null) await once(child, 'exit');
      const again = headgate('up', 'nat', '--name', one);
      expect(again.stderr).toMatch(delayMs === 0 ? /half-way/ : /half-way|stands already/);
      must('down', one);
      expect(netnsOf(one)).toEqual([]);
      expect(begun()).toBe(false);
      expect(pins().filter((name) => !pinsBefore.includes(name))).toEqual([]);
    }
  });

  it('that can neither be set up nor taken down says why, one after the other', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-lab-'));
    const once = join(folder, 'once');
    // A director that refuses its rules, and cannot be asked to clean up.
    writeFileSync(once, '#!/bin/sh\nrm "$0"\necho "no rules today" >&2\nexit 1\n', { mode: 0o755 });
    const cluster = builtInClusters.find(({ name }) => name === 'nat')!;
    await expect(bringUp(cluster, one, [once])).rejects.toMatchObject({
      code: 'HG_LAB_FAILED',
      message: expect.stringMatching(/no rules today; and what was built could not be taken down: .*ENOENT/),
      hint: `headgate lab down ${one}`,
    });
    rmSync(folder, { recursive: true });
    must('down', one);
    expect(netnsOf(one)).toEqual([]);
  });

  it('stands as a file says, and tells its mistakes before anything is built', () => {
    const page = readFileSync(resolve(import.meta.dirname, '../../docs/lab.md'), 'utf8');
    const text = /^ {4}\{\n[\s\S]*?^ {4}\}\n/m.exec(page)![0].replaceAll(/^ {4}/gm, '');
    const folder = mkdtempSync(join(tmpdir(), 'hg-lab-'));
    const file = join(folder, 'mine.json');
    try {
      writeFileSync(file, text);
      must('up', file, '--name', one);
      expect(ask(one, '10.0.0.10', 1)).toEqual(['rs']);
      must('down', one);
      writeFileSync(file, text.replace('"mtu": 1400', '"mtu": 14, "speed": 1'));
      const { status, stderr } = headgate('up', file, '--name', one);
      expect(stderr).toContain(
        `${file}:13:30: "mtu": wanted a whole number from 68 to 65535, found 14 [HG_CONFIG_VALUE]\n`,
      );
      expect(stderr).toContain(`${file}:13:34: key "speed": not known here`);
      expect(stderr).toContain(`headgate: Cannot build the lab of "${file}": 2 mistakes [HG_LAB_FILE]\n`);
      expect(status).toBe(1);
      expect(netnsOf(one)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('stands over IPv6 behind a router, also after its director was away', () => {
    const folder = mkdtempSync(join(tmpdir(), 'hg-lab-'));
    const file = join(folder, 'six.json');
    try {
      writeFileSync(file, JSON.stringify(six));
      must('up', file, '--name', one);
      expect(new Set(ask(one, '[fd00:b::100]', 2))).toEqual(new Set(['rs1', 'rs2']));
      const addresses = onNode(one, 'lb', 'ip', '-6', 'addr', 'show', 'dev', 'eth0');
      expect(addresses.stdout).toMatch(/inet6 fd00:b::100\/128 .*deprecated/);
      must('kill', 'lb', '--lab', one);
      expect(onNode(one, 'client', 'curl', '-s', '-m', '1', 'http://[fd00:b::100]/').status).toBe(28);
      must('restore', 'lb', '--lab', one);
      expect(
        onNode(one, 'lb', 'ip', '-6', 'addr', 'show', 'dev', 'eth0').stdout.replaceAll(/\s+/g, ' '),
      ).toBe(addresses.stdout.replaceAll(/\s+/g, ' '));
      expect(new Set(ask(one, '[fd00:b::100]', 2))).toEqual(new Set(['rs1', 'rs2']));
      expect(headgate('status', one).stdout).not.toContain('PROBLEMS');
      must('down', one);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('sends through tunnels to every real server, the directors among them', () => {
    must('up', 'tun-heartbeat', '--name', one);
    expect(new Set(ask(one, '192.168.136.10', 10))).toEqual(
      new Set(['loadbalancer', 'backup', 'rs1', 'rs2', 'rs3']),
    );
    expect(onNode(one, 'rs1', process.execPath, launcher, 'agent', 'status').stdout).toMatch(
      /takes 192\.168\.136\.10 through the tunnel[\s\S]*packets: [1-9]\d* decapsulated, 0 dropped/,
    );
    expect(headgate('status', one).stdout).toContain('director backup  192.168.136.12/24  BACKUP');
    must('down', one);
  });
});

requires(
  'root',
  'netns',
  'bpf',
  'curl',
)('headgate lab test', () => {
  it('holds the schedulers against the reference and leaves nothing', () => {
    const words = ['test', '--quick', '--method', 'masquerade', '--scheduler', 'wrr', '--scheduler', 'twos'];
    const { rows } = JSON.parse(must(...words, '-o', 'json'));
    expect(rows).toHaveLength(4);
    // ip_vs_wrr.c with 3, 2 and 1 added in this order: rung 1, then 3, then 2, newest first.
    const wheel = ['rs3', 'rs2', 'rs1', 'rs1', 'rs2', 'rs1'];
    expect(rows[0].answers).toEqual([...wheel, ...wheel, ...wheel, ...wheel]);
    expect(rows[0].transfer.intact).toBe(true);
    expect(rows[1].expected).toBeUndefined();
    expect(netnsOf('test-masquerade')).toEqual([]);
  });

  it('knows its words', () => {
    const { stderr, status } = headgate('test', '--scheduler', 'wrrr');
    expect(stderr).toContain('did you mean "--scheduler wrr"?');
    expect(status).toBe(2);
  });
});
