import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { down, type Lab, up } from '../../src/lab/build.ts';
import { patternBytes } from '../../src/lab/pattern.ts';
import { runToEnd, startRealServer, startTraffic } from '../../src/lab/processes.ts';
import type { Topology } from '../../src/lab/topology.ts';
import { listAddresses } from '../../src/sys/netlink/address.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { listRoutes } from '../../src/sys/netlink/route.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { listNamedNetns, netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

/** client - router - server, a third machine on the server's segment. */
const topology = (name: string): Topology => ({
  name,
  nodes: [
    {
      name: 'client',
      routes: [
        { destination: 'default', gateway: '10.60.1.1' },
        { destination: 'default', gateway: 'fd60:1::1' },
      ],
    },
    { name: 'router', sysctls: { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 } },
    {
      name: 'server',
      loopback: ['10.60.9.9/32'],
      routes: [
        { destination: 'default', gateway: '10.60.2.1', device: 'eth0' },
        { destination: 'default', gateway: 'fd60:2::1' },
      ],
    },
    { name: 'other' },
  ],
  segments: [
    {
      name: 'near',
      mtu: 1400,
      ports: [
        {
          node: 'client',
          device: 'eth0',
          addresses: ['10.60.1.2/24', 'fd60:1::2/64'],
          mac: '02:00:00:60:00:02',
        },
        {
          node: 'router',
          device: 'near',
          addresses: ['10.60.1.1/24', 'fd60:1::1/64'],
          offloads: { tso: false, gro: false },
        },
      ],
    },
    {
      name: 'far',
      ports: [
        { node: 'router', device: 'far', addresses: ['10.60.2.1/24', 'fd60:2::1/64'] },
        { node: 'server', device: 'eth0', addresses: ['10.60.2.2/24', 'fd60:2::2/64'] },
        { node: 'other', device: 'eth0', addresses: ['10.60.2.3/24'] },
      ],
    },
  ],
});

const ours = () => listNamedNetns().filter((name) => name.startsWith('hg-hgt'));
const devices = () => withNetlink({}, (netlink) => listLinks(netlink).map(({ name }) => name));

requires(
  'root',
  'netns',
  'ip',
)('a lab', () => {
  afterEach(() => {
    for (const name of ['hgt1', 'hgt2']) down(name);
  });

  it('stands as it is written down, and leaves nothing', () => {
    const before = { devices: devices(), fds: readdirSync('/proc/self/fd').length };
    const lab = up(topology('hgt1'));
    const show = (node: string, ...args: string[]) =>
      JSON.parse(execFileSync('ip', ['-n', lab.netns(node), '-d', '-j', ...args], { encoding: 'utf8' }));
    expect(devices()).toEqual(before.devices);
    expect(show('client', 'link', 'show', 'dev', 'eth0')[0]).toMatchObject({
      mtu: 1400,
      address: '02:00:00:60:00:02',
      operstate: 'UP',
    });
    expect(show('client', 'route', 'get', '198.51.100.1')[0]).toMatchObject({
      gateway: '10.60.1.1',
      dev: 'eth0',
    });
    expect(
      show('server', 'addr', 'show', 'dev', 'lo')[0].addr_info.map(({ local }: { local: string }) => local),
    ).toContain('10.60.9.9');
    expect(show('far', 'link', 'show', 'type', 'bridge')).toHaveLength(1);
    const offloads = lab.run('router', 'ethtool', ['-k', 'near']).stdout;
    expect(offloads).toMatch(/^\ttx-tcp-segmentation: off/m);
    expect(offloads).toMatch(/^generic-receive-offload: off/m);
    lab.down();
    lab.down();
    expect(ours()).toEqual([]);
    expect(devices()).toEqual(before.devices);
    expect(readdirSync('/proc/self/fd').length).toBe(before.fds);
  });

  it('takes packets for every address of its nodes as soon as it stands', () => {
    for (let round = 0; round < 20; round++) {
      const lab = up(topology('hgt1'));
      for (const { name } of lab.topology.nodes)
        withNetlink({ netns: netnsPath(lab.netns(name)) }, (netlink) => {
          const six = listAddresses(netlink).filter(({ family }) => family === 'ipv6');
          expect(six.length).toBeGreaterThan(1);
          expect(six.filter(({ tentative }) => tentative)).toEqual([]);
          expect(listRoutes(netlink).map(({ destination }) => destination)).toEqual(
            expect.arrayContaining(six.map(({ address }) => `${address}/128`)),
          );
        });
      lab.down();
    }
  });

  it('stands beside another of the same shape', async () => {
    const [first, second] = [up(topology('hgt1')), up(topology('hgt2'))];
    const server = await startRealServer(second, 'server', { name: 'second', http: [80] });
    const ask = { protocol: 'tcp', address: '10.60.2.2', port: 80, perSecond: 100, total: 3 } as const;
    expect((await startTraffic(second, 'client', ask).finished).answered).toEqual({ second: 3 });
    expect((await startTraffic(first, 'client', ask).finished).failed).toEqual({ ECONNREFUSED: 3 });
    first.down();
    expect(server.child.exitCode).toBeNull();
    expect((await startTraffic(second, 'client', ask).finished).answered).toEqual({ second: 3 });
  });

  it('is taken down by its name after its builder was killed, with every process in it', async () => {
    const module = new URL('../../src/lab/build.ts', import.meta.url).href;
    const script = `import { up } from '${module}';
      const lab = up(${JSON.stringify(topology('hgt1'))});
      lab.spawn('server', 'sleep', ['1000'], { detached: true, stdio: 'ignore' });
      process.kill(process.pid, 'SIGKILL');`;
    expect(() =>
      execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]),
    ).toThrow();
    expect(ours().length).toBeGreaterThan(0);
    expect(() => up(topology('hgt1'))).toThrow('stands already');
    down('hgt1');
    expect(ours()).toEqual([]);
    const sleeping = readdirSync('/proc').filter((pid) => {
      const file = `/proc/${pid}/cmdline`;
      return /^\d+$/.test(pid) && existsSync(file) && readFileSync(file, 'utf8') === 'sleep\x001000\x00';
    });
    expect(sleeping).toEqual([]);
  });

  it('removes what stands when building fails half way', () => {
    const broken = topology('hgt1');
    const nodes = [...broken.nodes, { name: 'bad', sysctls: { 'net.ipv4.no_such_thing': 1 } }];
    expect(() => up({ ...broken, nodes })).toThrow('no such parameter');
    expect(ours()).toEqual([]);
    expect(() => up({ ...broken, name: 'Bad' })).toThrow('lab name "Bad"');
  });
});

requires(
  'root',
  'netns',
  'curl',
)('servers and traffic', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = up(topology('hgt3'));
    await startRealServer(lab, 'server', { name: 'rs', http: [80, 8080], tcp: [7], udp: [53] });
  });
  afterAll(() => lab.down());
  const curl = (...args: string[]) => lab.run('client', 'curl', ['-sS', '--max-time', '20', ...args]).stdout;

  it('answer curl with their name, over IPv4 and IPv6, on every port', () => {
    expect(curl('http://10.60.2.2/')).toBe('rs\n');
    expect(curl('http://10.60.2.2:8080/any/path')).toBe('rs\n');
    expect(curl('http://[fd60:2::2]/')).toBe('rs\n');
  });

  it('stream exactly the bytes asked for, through a segment of smaller MTU', () => {
    const bytes = 5_000_000;
    const file = '/tmp/hgnet-big';
    expect(
      curl('-o', file, '-w', '%{http_code} %{size_download}', `http://10.60.2.2/big?bytes=${bytes}`),
    ).toBe(`200 ${bytes}`);
    expect(readFileSync(file).equals(patternBytes(0, bytes))).toBe(true);
    execFileSync('rm', [file]);
    expect(curl('http://10.60.2.2/big?bytes=many')).toContain('wanted a whole number');
  });

  it('digest an upload', () => {
    const upload = patternBytes(7, 2_000_000);
    const run = lab.run('client', 'sh', [
      '-c',
      `'${process.execPath}' -e 'let b=Buffer.alloc(2e6);for(let i=0;i<2e6;i++)b[i]=Math.imul(7+i,0x9e3779b1)>>>24;process.stdout.write(b)' | curl -sS --max-time 20 -T - http://[fd60:2::2]/`,
    ]);
    expect(JSON.parse(run.stdout)).toEqual({
      name: 'rs',
      bytes: upload.length,
      sha256: createHash('sha256').update(upload).digest('hex'),
    });
  });

  describe('the generator', () => {
    it.each([
      ['tcp', '10.60.2.2', 80],
      ['tcp', 'fd60:2::2', 80],
      ['udp', '10.60.2.2', 53],
      ['udp', 'fd60:2::2', 53],
    ] as const)('counts who served %s to %s', async (protocol, address, port) => {
      const order = { protocol, address, port, perSecond: 200, total: 50 };
      const report = await startTraffic(lab, 'client', order).finished;
      expect(report).toMatchObject({ opened: 50, answered: { rs: 50 }, failed: {}, done: true });
      expect(report.medianMs).toBeLessThan(1000);
    });

    it('takes a UDP reply only from the address it asked', async () => {
      const order = { protocol: 'udp', address: '10.60.9.9', port: 53, perSecond: 100, total: 5 } as const;
      await runToEnd(lab, 'router', ['ip', 'route', 'add', '10.60.9.9', 'via', '10.60.2.2'], {
        timeoutMs: 5000,
      });
      expect((await startTraffic(lab, 'client', order).finished).answered).toEqual({ rs: 5 });
    });

    it('names the reason of what failed', async () => {
      const order = { protocol: 'tcp', address: '10.60.2.2', port: 81, perSecond: 100, total: 5 } as const;
      expect((await startTraffic(lab, 'client', order).finished).failed).toEqual({ ECONNREFUSED: 5 });
      const closed = { ...order, protocol: 'udp' } as const;
      expect((await startTraffic(lab, 'client', closed).finished).failed).toEqual({ ECONNREFUSED: 5 });
      const nobody = { ...order, address: '10.60.2.77', timeoutMs: 300 } as const;
      expect((await startTraffic(lab, 'client', nobody).finished).failed).toEqual({ timeout: 5 });
    });

    it('keeps its rate and ends with its standard input', async () => {
      const reports: number[] = [];
      const order = {
        protocol: 'tcp',
        address: '10.60.2.2',
        port: 80,
        perSecond: 50,
        reportEveryMs: 200,
      } as const;
      const traffic = startTraffic(lab, 'client', order, ({ opened }) => reports.push(opened));
      await expect.poll(() => reports.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(10);
      traffic.child.stdin?.end();
      const last = await traffic.finished;
      expect(last.opened).toBeGreaterThan((last.elapsedMs / 1000) * 50 * 0.8);
      expect(last.opened).toBeLessThanOrEqual((last.elapsedMs / 1000) * 50 + 1);
    });
  });

  it('say why a server does not start', async () => {
    await expect(startRealServer(lab, 'server', { name: 'again', http: [80] })).rejects.toThrow(
      /"again".*EADDRINUSE/,
    );
  });

  it('do not outlive who started them', async () => {
    const helper = await startRealServer(lab, 'other', { name: 'brief', http: [80] });
    const gone = new Promise((resolve) => helper.child.once('exit', resolve));
    helper.child.stdin?.end();
    expect(await gone).toBe(0);
  });
});
