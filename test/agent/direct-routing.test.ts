import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/build.ts';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { askTcp, connectOn, outcome, sendAll } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import {
  agent,
  headgateLauncher,
  ipvsadm,
  plans,
  run,
  snapshot,
  standUp,
  takeDown,
  tryAgent,
  whoHas,
} from './site.ts';

const at = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('agent up --method direct-routing', () => {
  let lab: Lab;
  let server: Helper;
  let untouched: Record<string, string>;
  const both = [plans[4].vip, plans[6].vip];

  beforeAll(async () => {
    lab = standUp('direct');
    server = await startRealServer(lab, 'real', { name: 'real', tcp: [7] });
    for (const plan of [plans[4], plans[6]]) {
      ipvsadm(lab, '-A', '-t', at(plan.vip, 7), '-s', 'rr');
      ipvsadm(lab, '-a', '-t', at(plan.vip, 7), '-r', at(plan.real, 7), '-g');
    }
    untouched = snapshot(lab, 'real');
  });
  afterEach(() => {
    agent(lab, 'real', 'down');
    expect(snapshot(lab, 'real')).toEqual(untouched);
  });
  afterAll(async () => {
    await server?.stop();
    takeDown(lab);
  });

  it.each([4, 6] as const)('makes a real server that answers clients of IPv%s', (family) => {
    const { vip } = plans[family];
    expect(outcome(() => askTcp(lab, 'client', { address: vip, port: 7 }, { timeoutMs: 500 }))).not.toBe(
      'ok',
    );
    agent(lab, 'real', 'up', '--vip', vip, '--method', 'direct-routing');
    expect(askTcp(lab, 'client', { address: vip, port: 7 })).toBe('real');
  });

  it('holds the addresses on lo as the kernel shows them, IPv6 at once usable', () => {
    agent(lab, 'real', 'up', '--vip', ...both, '--method', 'direct-routing');
    const [lo] = JSON.parse(run(lab, 'real', 'ip', '-j', 'address', 'show', 'dev', 'lo'));
    expect(lo.addr_info).toContainEqual(expect.objectContaining({ local: plans[4].vip, prefixlen: 32 }));
    const six = lo.addr_info.find(({ local }: { local: string }) => local === plans[6].vip);
    expect(six).toMatchObject({ prefixlen: 128 });
    expect(six).not.toHaveProperty('tentative');
  });

  it('answers no ARP request for the address, and still those for its own', () => {
    run(lab, 'director', 'ip', 'address', 'del', `${plans[4].vip}/32`, 'dev', 'net');
    try {
      run(lab, 'real', 'ip', 'address', 'add', `${plans[4].vip}/32`, 'dev', 'lo');
      expect(whoHas(lab, plans[4].vip)).toHaveLength(1);
      run(lab, 'real', 'ip', 'address', 'del', `${plans[4].vip}/32`, 'dev', 'lo');
      agent(lab, 'real', 'up', '--vip', plans[4].vip, '--method', 'direct-routing');
      expect(whoHas(lab, plans[4].vip)).toEqual([]);
      expect(whoHas(lab, plans[4].real)).toHaveLength(1);
    } finally {
      run(lab, 'director', 'ip', 'address', 'add', `${plans[4].vip}/32`, 'dev', 'net');
    }
  });

  it('asks for its neighbours in its own name when it speaks from the address', () => {
    agent(lab, 'real', 'up', '--vip', plans[4].vip, '--method', 'direct-routing');
    run(lab, 'real', 'ip', 'neigh', 'flush', 'dev', 'net');
    run(lab, 'client', 'ip', 'neigh', 'flush', 'dev', 'net');
    const target = { address: '10.91.0.1', port: 9 };
    const fd = connectOn(lab, 'real', 'datagram', target, { from: { address: plans[4].vip } });
    sendAll(fd, Buffer.from('x'));
    // A host that is asked learns who asks: by the sender address of the request.
    const learnt: { dst: string; lladdr?: string }[] = JSON.parse(
      run(lab, 'client', 'ip', '-j', 'neigh', 'show', 'dev', 'net'),
    );
    const macOf = (address: string) => learnt.find(({ dst }) => dst === address)?.lladdr;
    expect(macOf(plans[4].real)).toMatch(/:/);
    expect(macOf(plans[4].vip)).not.toBe(macOf(plans[4].real));
  });

  it('loosens a strict source check where clients are behind another interface', () => {
    const from = { address: plans[4].far };
    const ask = () =>
      outcome(() => askTcp(lab, 'client', { address: plans[4].vip, port: 7 }, { from, timeoutMs: 900 }));
    lab.inside('real', () => {
      for (const device of ['net', 'out']) writeSysctl(`net.ipv4.conf.${device}.rp_filter`, 1);
    });
    try {
      run(lab, 'real', 'ip', 'address', 'add', `${plans[4].vip}/32`, 'dev', 'lo');
      expect(ask()).toBe('EINPROGRESS');
      run(lab, 'real', 'ip', 'address', 'del', `${plans[4].vip}/32`, 'dev', 'lo');
      const lines = agent(lab, 'real', 'up', '--vip', plans[4].vip, '--method', 'direct-routing');
      expect(lines).toContain('net.ipv4.conf.net.rp_filter: 1 -> 2');
      expect(lines.join()).not.toContain('conf.out.rp_filter');
      expect(ask()).toBe('ok');
      expect(agent(lab, 'real', 'down')).toContain('net.ipv4.conf.net.rp_filter: 2 -> 1');
    } finally {
      lab.inside('real', () => {
        for (const device of ['net', 'out']) writeSysctl(`net.ipv4.conf.${device}.rp_filter`, 0);
      });
    }
  });

  it('says each change, changes nothing twice, and goes over to another set', () => {
    const words = ['--method', 'direct-routing'];
    expect(agent(lab, 'real', 'up', '--vip', plans[4].vip, ...words).slice(0, -1)).toEqual([
      'net.ipv4.conf.all.arp_ignore: 0 -> 1',
      'net.ipv4.conf.all.arp_announce: 0 -> 2',
      'net.ipv4.conf.lo.arp_ignore: 0 -> 1',
      'net.ipv4.conf.lo.arp_announce: 0 -> 2',
      `address ${plans[4].vip}/32 on lo: absent -> present`,
    ]);
    expect(agent(lab, 'real', 'up', '--vip', plans[4].vip, ...words)).toHaveLength(1);
    expect(agent(lab, 'real', 'up', '--vip', plans[4].other, plans[6].vip, ...words).slice(0, -1)).toEqual([
      `address ${plans[4].other}/32 on lo: absent -> present`,
      `address ${plans[6].vip}/128 on lo: absent -> present`,
      `address ${plans[4].vip}/32 on lo: present -> absent`,
    ]);
    expect(JSON.parse(agent(lab, 'real', 'status', '-o', 'json').join())).toMatchObject({
      up: true,
      method: 'direct-routing',
      vips: [plans[4].other, plans[6].vip],
    });
  });

  describe('leaves alone', () => {
    it('what was right before it came', () => {
      run(lab, 'real', 'ip', 'address', 'add', `${plans[4].vip}/32`, 'dev', 'lo');
      agent(lab, 'real', 'up', '--vip', plans[4].vip, '--method', 'direct-routing');
      agent(lab, 'real', 'down');
      expect(run(lab, 'real', 'ip', 'address', 'show', 'dev', 'lo')).toContain(plans[4].vip);
      run(lab, 'real', 'ip', 'address', 'del', `${plans[4].vip}/32`, 'dev', 'lo');
    });

    it('what somebody else has changed meanwhile, and says so', () => {
      agent(lab, 'real', 'up', '--vip', plans[4].vip, '--method', 'direct-routing');
      lab.inside('real', () => writeSysctl('net.ipv4.conf.all.arp_announce', 1));
      expect(agent(lab, 'real', 'status').join('\n')).toContain(
        'net.ipv4.conf.all.arp_announce: 1, the agent had set 2 (was 0)',
      );
      expect(agent(lab, 'real', 'down')).toContain(
        'net.ipv4.conf.all.arp_announce: left at 1, which somebody else has set; it was 0 before the agent came',
      );
      expect(
        lab.inside('real', () => run(lab, 'real', 'cat', '/proc/sys/net/ipv4/conf/all/arp_announce')),
      ).toBe('1\n');
      lab.inside('real', () => writeSysctl('net.ipv4.conf.all.arp_announce', 0));
    });
  });

  it('is repaired by the next command when it was killed', async () => {
    const words = [headgateLauncher, 'agent', 'up', '--vip', ...both, '--method', 'direct-routing'];
    const read = (path: string) => readFileSync(`/proc/sys/net/ipv4/conf/${path}`, 'utf8').trim();
    const triggers = [
      () => read('all/arp_ignore') === '1',
      () => read('all/arp_announce') === '2',
      () => read('lo/arp_ignore') === '1',
      () => read('lo/arp_announce') === '2',
    ];
    let cutShort = 0;
    for (const [turn, trigger] of [...triggers, ...triggers, ...triggers].entries()) {
      const child = lab.spawn('real', process.execPath, words, { stdio: 'ignore' });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      lab.inside('real', () => {
        for (const deadline = performance.now() + 5000; !trigger() && performance.now() < deadline; );
      });
      child.kill('SIGKILL');
      await ended;
      if (!run(lab, 'real', 'ip', 'address', 'show', 'dev', 'lo').includes(plans[6].vip)) cutShort++;
      // By turns undone at once, and completed first.
      if (turn % 2 === 0) {
        agent(lab, 'real', 'up', '--vip', ...both, '--method', 'direct-routing');
        expect(run(lab, 'real', 'ip', 'address', 'show', 'dev', 'lo')).toContain(plans[6].vip);
      }
      agent(lab, 'real', 'down');
      expect(snapshot(lab, 'real')).toEqual(untouched);
    }
    expect(cutShort).toBeGreaterThan(0);
  });

  it('down says when there is nothing to restore, twice as well', () => {
    for (let i = 0; i < 2; i++) {
      const { status, stdout } = tryAgent(lab, 'real', 'down');
      expect({ status, stdout }).toEqual({
        status: 0,
        stdout: 'There is nothing to restore: the agent has set nothing up here.\n',
      });
    }
  });

  it.each([
    ['an address of the host itself', ['--vip', plans[4].real], 1, `found it on "net"`],
    ['an address of the host itself, IPv6', ['--vip', plans[6].real], 1, `found it on "net"`],
  ])('refuses %s and changes nothing', (_what, words, status, sentence) => {
    const refused = tryAgent(lab, 'real', 'up', '--method', 'direct-routing', ...words);
    expect({ status: refused.status, stdout: refused.stdout }).toEqual({ status, stdout: '' });
    expect(refused.stderr).toContain(sentence);
    expect(refused.stderr).toMatch(/^headgate: Cannot .*\n {2}next: .*\n$/);
  });

  it('refuses an IPv6 address where IPv6 is off', () => {
    lab.inside('real', () => writeSysctl('net.ipv6.conf.lo.disable_ipv6', 1));
    const { status, stderr } = tryAgent(
      lab,
      'real',
      'up',
      '--method',
      'direct-routing',
      '--vip',
      plans[6].vip,
    );
    lab.inside('real', () => writeSysctl('net.ipv6.conf.lo.disable_ipv6', 0));
    expect(status).toBe(1);
    expect(stderr).toContain(`Cannot hold "${plans[6].vip}": IPv6 is off on "lo"`);
  });

  it('is refused to those who may not administer the network', () => {
    const { status, stderr } = lab.run('real', 'setpriv', [
      '--bounding-set=-net_admin',
      '--inh-caps=-net_admin',
      process.execPath,
      headgateLauncher,
      'agent',
      'down',
    ]);
    expect(status).toBe(1);
    expect(stderr).toContain('[HG_NOT_ROOT]');
  });
});
