import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/build.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { askTcp, closeSocket, connectOn, outcome, readLine } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import { agent, ipvsadm, plans, run, snapshot, standUp, takeDown, tryAgent } from './site.ts';

const at = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
const families = [4, 6] as const;
const clients = { 4: '10.91.0.1', 6: 'fd91::1' } as const;

/** An answer may take as long as a busy machine needs; that there is none is seen sooner. */
const [patienceMs, silenceMs] = [10_000, 700];

/** A TCP service that tells each client its address. */
const teller = `require('net').createServer((socket) => {
  socket.on('error', () => {});
  socket.end(socket.remoteAddress.replace('::ffff:', '') + '\\n');
}).listen(7, '::', () => process.send('ready'));`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('agent up --method masquerade', () => {
  let lab: Lab;
  let server: Helper;
  let tell: ChildProcess;
  const untouched: Record<string, Record<string, string>> = {};

  beforeAll(async () => {
    lab = standUp('masq');
    server = await startRealServer(lab, 'real', { name: 'real', tcp: [7] });
    tell = lab.spawn('client', process.execPath, ['-e', teller], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    await once(tell, 'message');
    for (const family of families) {
      const { vip, real, far } = plans[family];
      const length = family === 4 ? 32 : 128;
      run(lab, 'director', 'ip', 'route', 'add', `${far}/${length}`, 'via', clients[family]);
      ipvsadm(lab, '-A', '-t', at(vip, 7), '-s', 'rr');
      ipvsadm(lab, '-a', '-t', at(vip, 7), '-r', at(real, 7), '-m');
    }
    for (const node of ['director', 'real']) untouched[node] = snapshot(lab, node);
  });
  afterEach(() => {
    for (const node of ['real', 'director']) {
      agent(lab, node, 'down');
      expect(snapshot(lab, node)).toEqual(untouched[node]);
    }
  });
  afterAll(async () => {
    tell?.kill();
    await server?.stop();
    takeDown(lab);
  });

  /** The far client asks the virtual address; replies come back by the real server's default route. */
  const ask = (family: 4 | 6, timeoutMs = patienceMs) => {
    const { vip, far } = plans[family];
    return outcome(() =>
      expect(askTcp(lab, 'client', { address: vip, port: 7 }, { from: { address: far }, timeoutMs })).toBe(
        'real',
      ),
    );
  };

  it('leads replies back through the director, over a default route that stays', () => {
    for (const family of families) expect(ask(family, silenceMs)).not.toBe('ok');
    const gateways = families.map((family) => plans[family].director);
    const lines = agent(lab, 'real', 'up', '--method', 'masquerade', '--gateway', ...gateways);
    expect(lines).toContain(`default IPv4 route of metric 0: absent -> via ${gateways[0]} dev net`);
    expect(lines).toContain(`default IPv6 route of metric 1: absent -> via ${gateways[1]} dev net`);
    for (const family of families) expect(ask(family)).toBe('ok');
    const routes = (family: 4 | 6) =>
      JSON.parse(run(lab, 'real', 'ip', '-j', `-${family}`, 'route', 'show', 'default')).map(
        ({ gateway, metric }: { gateway: string; metric?: number }) => [gateway, metric ?? 0],
      );
    expect(routes(4)).toEqual([
      ['10.91.0.254', 0],
      ['10.92.0.1', 100],
    ]);
    expect(routes(6)).toEqual([
      ['fd91::fe', 1],
      ['fd92::1', 1024],
    ]);
    agent(lab, 'real', 'down');
    for (const family of families) expect(ask(family, silenceMs)).not.toBe('ok');
  });

  it('puts a default route that was in the way back as it was, with all it said', () => {
    const route = [
      'default',
      'via',
      '10.92.0.1',
      'dev',
      'out',
      'proto',
      'static',
      'src',
      '10.92.0.11',
      'mtu',
      '1400',
    ];
    run(lab, 'real', 'ip', 'route', 'add', ...route);
    const before = snapshot(lab, 'real');
    agent(lab, 'real', 'up', '--method', 'masquerade', '--gateway', plans[4].director);
    expect(ask(4)).toBe('ok');
    expect(run(lab, 'real', 'ip', 'route', 'show', 'default')).not.toContain('mtu 1400');
    agent(lab, 'real', 'down');
    expect(snapshot(lab, 'real')).toEqual(before);
    run(lab, 'real', 'ip', 'route', 'del', ...route);
  });

  it('leaves a default route that somebody else has set meanwhile', () => {
    agent(lab, 'real', 'up', '--method', 'masquerade', '--gateway', plans[4].director);
    run(lab, 'real', 'ip', 'route', 'replace', 'default', 'via', '10.92.0.1', 'dev', 'out');
    expect(agent(lab, 'real', 'down')).toContain(
      'default IPv4 route of metric 0: left at via 10.92.0.1 dev out, which somebody else has set; it was absent before the agent came',
    );
    run(lab, 'real', 'ip', 'route', 'del', 'default', 'via', '10.92.0.1', 'metric', '0');
  });

  it.each([
    ['of no network of the host', '10.93.0.1', 'on a network of this host'],
    ['of the host itself', plans[4].real, 'found an address of this host'],
    ['that nobody has', '10.91.0.77', 'wanted an answer to ARP on "net", found none within 3.5 s'],
    ['that nobody has, IPv6', 'fd91::77', 'wanted an answer to neighbour discovery on "net"'],
  ])('refuses a gateway %s before anything is changed', (_what, gateway, sentence) => {
    const { status, stdout, stderr } = tryAgent(
      lab,
      'real',
      'up',
      '--method',
      'masquerade',
      '--gateway',
      gateway,
    );
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain(sentence);
    expect(stderr).toMatch(/^headgate: Cannot use gateway .* \[HG_GATEWAY\]\n {2}next: .*\n$/);
  });

  /** What a real server that opens a connection to the far client is seen as. */
  const seenAs = (family: 4 | 6, node = 'real', own?: string, timeoutMs = patienceMs): string => {
    const from = own === undefined ? {} : { from: { address: own } };
    const target = { address: plans[family].far, port: 7 };
    const fd = connectOn(lab, node, 'stream', target, { ...from, timeoutMs });
    try {
      return readLine(fd);
    } finally {
      closeSocket(fd);
    }
  };

  it.each(families)('--director forwards what real servers open, IPv%s', (family) => {
    const { director, real, vip } = plans[family];
    agent(lab, 'real', 'up', '--method', 'masquerade', '--gateway', director);
    expect(outcome(() => seenAs(family, 'real', undefined, silenceMs))).not.toBe('ok');
    const words = ['--method', 'masquerade', '--director', '--vip', vip];
    agent(lab, 'director', 'up', ...words);
    expect(seenAs(family)).toBe(real);
    agent(lab, 'director', 'up', ...words, '--masquerade-outgoing', 'net');
    expect([director, vip]).toContain(seenAs(family));
    expect(seenAs(family)).not.toBe(real);
    agent(lab, 'director', 'up', ...words);
    expect(seenAs(family)).toBe(real);
    agent(lab, 'director', 'down');
    expect(outcome(() => seenAs(family, 'real', undefined, silenceMs))).not.toBe('ok');
  });

  it('--masquerade-outgoing lets what the director opens itself keep its source', () => {
    agent(lab, 'director', 'up', '--method', 'masquerade', '--director', '--masquerade-outgoing', 'net');
    for (const own of [plans[4].vip, plans[4].director]) expect(seenAs(4, 'director', own)).toBe(own);
  });

  it('--director does not touch IPv6 without a virtual address of it, and sends no redirects', () => {
    lab.inside('director', () => writeSysctl('net.ipv4.conf.net.send_redirects', 1));
    const lines = agent(lab, 'director', 'up', '--method', 'masquerade', '--director');
    expect(lines.join()).not.toContain('ipv6');
    expect(lines).toContain('net.ipv4.conf.net.send_redirects: 1 -> 0');
    agent(lab, 'director', 'down');
    lab.inside('director', () => writeSysctl('net.ipv4.conf.net.send_redirects', 0));
  });

  it('--director restores what switching forwarding on and off changes beside it', () => {
    const odd = ['net.ipv4.conf.net.forwarding', 'net.ipv6.conf.net.forwarding'];
    lab.inside('director', () => {
      for (const name of odd) writeSysctl(name, 1);
      writeSysctl('net.ipv4.conf.all.accept_redirects', 0);
    });
    const before = snapshot(lab, 'director');
    agent(lab, 'director', 'up', '--method', 'masquerade', '--director', '--vip', plans[6].vip);
    agent(lab, 'director', 'down');
    expect(snapshot(lab, 'director')).toEqual(before);
    lab.inside('director', () => {
      for (const name of odd) writeSysctl(name, 0);
      writeSysctl('net.ipv4.conf.all.accept_redirects', 1);
    });
  });

  it('refuses to masquerade through an interface that is not there', () => {
    const { status, stderr } = tryAgent(
      lab,
      'director',
      ...['up', '--method', 'masquerade', '--director', '--masquerade-outgoing', 'nowhere'],
    );
    expect(status).toBe(2);
    expect(stderr).toContain('Cannot masquerade through "nowhere": there is no such interface');
  });
});
