import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bpffsDirectory } from '../../src/sys/mount.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsCookie, netnsPath } from '../../src/sys/netns.ts';
import { closeSocket, connectOn, sendAll } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import { type Director, type Found, standUp, vip, vip6 } from './director.ts';

/** A trouble, made for real; the printed command ends it, or `mend` where none is printed. */
type Trouble = {
  readonly id: string;
  readonly severity: Found['severity'];
  readonly make: string;
  readonly what: RegExp;
  /** Where the doctor prints what to do instead of a command: that, or the like of it, on a node. */
  readonly mend?: string;
  /** Puts back what the trouble took beside. */
  readonly after?: string;
};

const http = `-t ${vip}:80`;
const add = (server: string, flags = '-m') => `headgate ipvsadm -a ${http} -r ${server} ${flags}`;
const remove = (server: string) => `headgate ipvsadm -d ${http} -r ${server}`;
const arp = (device: string, value: number) => `sysctl -qw net.ipv4.conf.${device}.arp_ignore=${value}`;

const full = `-t ${vip}:81`;
const fullNat = (flags: string) =>
  `headgate ipvsadm -A ${full} && headgate ipvsadm -a ${full} -r 10.75.0.1:80 --full-nat ${flags}`;
const withoutLocal = `headgate ipvsadm -e ${full} -r 10.75.0.1:80 --full-nat`;

const troubles: readonly Trouble[] = [
  {
    id: 'local-address-missing',
    severity: 'broken',
    make: fullNat('--local-addresses 10.75.0.250'),
    what: /^the local address 10\.75\.0\.250 of full NAT for 10\.75\.0\.1:80 of tcp 10\.74\.0\.100:81 is on no interface/,
    after: `headgate ipvsadm -D ${full}; ip address del 10.75.0.250/32 dev back`,
  },
  {
    id: 'local-address-network',
    severity: 'risky',
    make: fullNat('--local-addresses 10.75.0.254,10.74.0.254'),
    what: /is on the network of back, and its local address 10\.74\.0\.254, front, is not$/,
    mend: withoutLocal,
    after: `headgate ipvsadm -D ${full}`,
  },
  {
    id: 'local-address-virtual',
    severity: 'note',
    make: fullNat(`--local-addresses ${vip}`),
    what: /^the local address 10\.74\.0\.100 .* is a virtual address$/,
    mend: withoutLocal,
    after: `headgate ipvsadm -D ${full}`,
  },
  {
    id: 'local-ports-shared',
    severity: 'risky',
    make: `${fullNat('')} && sysctl -qw net.ipv4.ip_local_port_range="2000 60999"`,
    what: /^full NAT takes the ports 1024 to 32767, and the kernel's own connections those from 2000 to 60999$/,
    mend: withoutLocal,
    after: `sysctl -qw net.ipv4.ip_local_port_range="32768 60999"; headgate ipvsadm -D ${full}`,
  },
  {
    id: 'vip-not-local',
    severity: 'broken',
    make: `ip address del ${vip}/32 dev front`,
    what: /10\.74\.0\.100 is on no interface/,
  },
  {
    id: 'vip-link-down',
    severity: 'broken',
    make: 'ip link set front down',
    what: /^front, which has the virtual address .*, is down$/,
    after: `ip -6 address replace fd74::fe/64 dev front nodad; ip -6 address replace ${vip6}/128 dev front nodad`,
  },
  { id: 'vip-hidden', severity: 'broken', make: arp('all', 8), what: /no interface answers ARP for .*100$/ },
  {
    id: 'vip-noarp',
    severity: 'risky',
    make: 'ip link set front arp off',
    what: /^front has the virtual address .* and does not answer/,
    after: `ip -6 address replace fd74::fe/64 dev front nodad; ip -6 address replace ${vip6}/128 dev front nodad`,
  },
  { id: 'vip-noarp', severity: 'risky', make: arp('front', 8), what: /^front has/, after: arp('all', 0) },
  {
    id: 'vip-on-port',
    severity: 'broken',
    make: [
      'ip link add x0 type veth peer name x1',
      'ip link add br0 type bridge',
      'ip link set x0 master br0 up',
      'ip link set br0 up',
      'ip link set x1 up',
      'ip address add 10.76.0.1/24 dev x0',
      'headgate ipvsadm -A -t 10.76.0.1:80',
      'headgate ipvsadm -a -t 10.76.0.1:80 -r 10.75.0.1 -m',
    ].join(' && '),
    what: /10\.76\.0\.1 is on x0, a port of br0/,
    after: 'headgate ipvsadm -D -t 10.76.0.1:80; ip link del x0; ip link del br0',
  },
  {
    id: 'service-empty',
    severity: 'broken',
    make: `headgate ipvsadm -e ${http} -r 10.75.0.1 -m -w 0 -x 50 -y 20`,
    what: /all 1 real servers of tcp 10\.74\.0\.100:80 have weight 0/,
  },
  {
    id: 'service-empty',
    severity: 'broken',
    make: 'headgate ipvsadm -A -u 10.74.0.100:53',
    what: /udp 10\.74\.0\.100:53 has no real server/,
    mend: 'headgate ipvsadm -a -u 10.74.0.100:53 -r 10.75.0.1:53 -m',
    after: 'headgate ipvsadm -D -u 10.74.0.100:53',
  },
  {
    id: 'server-silent',
    severity: 'broken',
    make: add('10.75.0.9'),
    what: /nobody answers for the real server 10\.75\.0\.9:80 on back/,
    mend: `headgate ipvsadm -e ${http} -r 10.75.0.9 -w 0 -m && ${remove('10.75.0.9')}`,
  },
  {
    id: 'server-no-route',
    severity: 'broken',
    make: `ip route add unreachable 10.99.0.0/24 && ${add('10.99.0.1')}`,
    what: /no route to the real server 10\.99\.0\.1:80/,
    mend: 'ip route del unreachable 10.99.0.0/24',
    after: remove('10.99.0.1'),
  },
  {
    id: 'server-behind-gateway',
    severity: 'broken',
    make: add('10.98.0.1', '-g -w 3'),
    what: /direct routing hands packets for the real server 10\.98\.0\.1:80 to the gateway 10\.75\.0\.1/,
    after: remove('10.98.0.1'),
  },
  {
    id: 'tunnel-mtu',
    severity: 'note',
    make: `${remove('10.75.0.1')} && ${add('10.75.0.1', '-i --tun-type gue --tun-port 6080')}`,
    what: /packets to 10\.75\.0\.1:80 may have 1468 bytes inside the tunnel, and up to 1500 come in by front/,
    after: `${remove('10.75.0.1')} && ${add('10.75.0.1')} && ip link set back mtu 1500`,
  },
  {
    id: 'tunnel-mtu',
    severity: 'note',
    make: `${remove('10.75.0.1')} && ${add('10.75.0.1', '-i')}`,
    what: /packets to 10\.75\.0\.1:80 may have 1480 bytes inside the tunnel, and up to 1500 come in by front/,
    after: `${remove('10.75.0.1')} && ${add('10.75.0.1')} && ip link set back mtu 1500`,
  },
  {
    id: 'mtu-smaller',
    severity: 'risky',
    make: 'ip link set back mtu 1400',
    what: /back, the way to 10\.75\.0\.1:80, takes 1400 bytes, front up to 1500/,
  },
  {
    id: 'mtu-replies',
    severity: 'note',
    make: 'ip link set back mtu 9000 && headgate ipvsadm -A -u 10.74.0.100:53 && headgate ipvsadm -a -u 10.74.0.100:53 -r 10.75.0.1:53 -m',
    what: /datagrams of 10\.75\.0\.1:53 can have 9000 bytes, and front takes 1500/,
    after: 'headgate ipvsadm -D -u 10.74.0.100:53',
  },
  {
    id: 'masquerade-same-network',
    severity: 'note',
    make: add('10.74.0.1'),
    what: /10\.74\.0\.1:80 is on front, the network of 10\.74\.0\.100/,
    mend: remove('10.74.0.1'),
  },
  {
    id: 'send-redirects',
    severity: 'risky',
    make: `${add('10.74.0.1')} && sysctl -qw net.ipv4.conf.all.send_redirects=1`,
    what: /sends ICMP redirects on front/,
    after: remove('10.74.0.1'),
  },
  {
    id: 'rp-filter',
    severity: 'note',
    make: 'sysctl -qw net.ipv4.conf.all.rp_filter=1',
    what: /front checks sources strictly .* and the default route is by back/,
    after: 'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.front.rp_filter=0',
  },
  {
    id: 'rp-filter',
    severity: 'broken',
    make: `sysctl -qw net.ipv4.conf.front.rp_filter=1 && ${add('10.75.0.254')}`,
    what: /front checks sources strictly/,
    after: `${remove('10.75.0.254')}; sysctl -qw net.ipv4.conf.front.rp_filter=0`,
  },
  {
    id: 'loopback-settings',
    severity: 'broken',
    make: 'sysctl -qw net.ipv4.ip_forward=0',
    what: /net\.ipv4\.conf\.lo\.forwarding is 0/,
    after: 'sysctl -qw net.ipv4.ip_forward=1',
  },
  {
    id: 'ip-forward',
    severity: 'note',
    make: 'sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.lo.forwarding=1',
    what: /net\.ipv4\.ip_forward is 0/,
    after: 'headgate agent down && sysctl -qw net.ipv4.ip_forward=1',
  },
  {
    id: 'loopback-down',
    severity: 'broken',
    make: `${add('10.75.0.254')} && ip link set lo down`,
    what: /lo is down, and this host is a real server of 10\.74\.0\.100 itself/,
    after: remove('10.75.0.254'),
  },
  {
    id: 'no-default-route',
    severity: 'note',
    make: 'ip route del default',
    what: /no IPv4 default route/,
    mend: 'ip route add default via 10.75.0.1',
  },
  {
    id: 'internal-pair',
    severity: 'risky',
    make: 'ip link set hg0 down',
    what: /hg0 and hg1/,
  },
];

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
  'bpftool',
)('headgate doctor', () => {
  let director: Director;
  beforeAll(() => {
    director = standUp();
    director.shell(`headgate ipvsadm -A ${http} -s rr && ${add('10.75.0.1')}`);
  });
  afterAll(() => director?.down());

  const find: Director['find'] = (id, what) => director.find(id, what);
  const isSound = () => expect(director.examine()).toEqual({ exitCode: 0, findings: [] });

  it('finds nothing on a director that is as it should be', isSound);

  it.each(troubles)('$id ($severity): $make', ({ id, severity, make, what, mend, after }) => {
    try {
      director.shell(make);
      const { exitCode, findings } = director.examine();
      const [found] = findings.filter((one) => one.id === id && what.test(one.what));
      expect(found, JSON.stringify(findings)).toMatchObject({ severity });
      const worst = findings[0]!.severity;
      expect(exitCode).toBe({ broken: 2, risky: 1, note: 0 }[worst]);
      expect(found!.fix === undefined).toBe(mend !== undefined);
      director.shell(mend ?? found!.fix!);
      // Where nothing is to be put back, isSound says that and more.
      if (after) expect(find(id, what)).toEqual([]);
    } finally {
      if (after) director.shell(after);
    }
    isSound();
  });

  it('vip-claimed: another machine answers ARP for the virtual address, until it is silent', () => {
    director.shell(`ip address add ${vip}/32 dev lo`, 'client');
    const link = director.shell('ip -j link show eth0', 'client');
    const mac = (JSON.parse(link) as { address: string }[])[0]!.address;
    const [found] = find('vip-claimed', /./);
    expect(found).toMatchObject({ severity: 'broken', what: expect.stringContaining(`MAC ${mac} on front`) });
    director.shell(/there: (headgate .*)$/.exec(found!.next!)![1]!, 'client');
    isSound();
    director.shell(`headgate agent down; ip address del ${vip}/32 dev lo`, 'client');
  });

  it('vip-duplicate: IPv6 finds another machine with the virtual address', () => {
    director.shell(`ip -6 address add ${vip6}/128 dev eth0 nodad`, 'client');
    director.shell(`headgate ipvsadm -A -t [${vip6}]:80`);
    director.shell(`headgate ipvsadm -a -t [${vip6}]:80 -r [fd75::1]:80 -m`);
    director.shell(`ip -6 address del ${vip6}/128 dev front`);
    director.shell('sysctl -qw net.ipv6.conf.all.accept_dad=1 net.ipv6.conf.front.accept_dad=1');
    director.shell(`ip -6 address add ${vip6}/128 dev front`);
    director.shell('until ip -6 address show dev front | grep -q dadfailed; do sleep 0.1; done');
    try {
      const [found] = find('vip-duplicate', /another machine has the virtual address fd74::100: .* on front/);
      expect(found).toMatchObject({ severity: 'broken' });
      director.shell(`ip -6 address del ${vip6}/128 dev eth0`, 'client');
      director.shell(found!.fix!);
      isSound();
    } finally {
      director.shell(`headgate ipvsadm -D -t [${vip6}]:80`);
    }
  });

  it.each(['ingress', 'egress'])(
    'program-missing: the link at the %s of an interface is detached',
    (side) => {
      const index = withNetlink({ netns: netnsPath(director.lab.netns('director')) }, (netlink) =>
        linkIndex(netlink, 'front'),
      );
      const pins = join(bpffsDirectory, String(director.lab.inside('director', netnsCookie)));
      director.shell(`bpftool link detach pinned ${join(pins, `link_${index}_${side}`)}`);
      const [found] = find('program-missing', /./);
      expect(found).toMatchObject({
        severity: 'broken',
        what: expect.stringContaining(`front lacks the program at ${side}:`),
      });
      // Looking has put nothing right.
      expect(find('program-missing', /./)).toEqual([found]);
      director.shell(found!.fix!);
      isSound();
    },
  );

  it('program-missing: an interface that came after the last command', () => {
    director.shell('ip link add x0 type veth peer name x1 && ip link set x0 up');
    const [found] = find('program-missing', /^x0/);
    expect(found).toMatchObject({ severity: 'risky', fix: 'headgate ipvsadm -L -n' });
    director.shell(found!.fix!);
    expect(find('program-missing', /./)).toEqual([]);
    director.shell('ip link del x0 && headgate ipvsadm -L -n');
    isSound();
  });

  it('rp-filter: a strict check drops what real servers on this host are sent, not what is forwarded', () => {
    const dropped = () => {
      const rows = director.shell('cat /proc/net/netstat').split('\n');
      const [names, values] = rows.filter((row) => row.startsWith('TcpExt:')).map((row) => row.split(' '));
      return Number(values![names!.indexOf('IPReversePathFilter')]);
    };
    const send = () => {
      const options = { from: { address: '198.51.100.9' } };
      const fd = connectOn(director.lab, 'client', 'datagram', { address: vip, port: 53 }, options);
      sendAll(fd, Buffer.from('one'));
      closeSocket(fd);
    };
    const dns = `-u ${vip}:53`;
    director.shell('ip address add 198.51.100.9/32 dev lo', 'client');
    // ARP asks with an address of the network: the strict check drops questions of others as well.
    director.shell('sysctl -qw net.ipv4.conf.eth0.arp_announce=2', 'client');
    director.shell(`headgate ipvsadm -A ${dns} && headgate ipvsadm -a ${dns} -r 10.75.0.1:53 -m`);
    director.shell('sysctl -qw net.ipv4.conf.front.rp_filter=1');
    const before = dropped();
    send();
    expect(dropped()).toBe(before);
    expect(find('rp-filter', /./)).toMatchObject([{ severity: 'note' }]);
    director.shell(`headgate ipvsadm -d ${dns} -r 10.75.0.1:53`);
    director.shell(`headgate ipvsadm -a ${dns} -r 10.75.0.254:53 -m`);
    send();
    expect(dropped()).toBe(before + 1);
    const [found] = find('rp-filter', /./);
    expect(found).toMatchObject({ severity: 'broken' });
    director.shell(found!.fix!);
    send();
    expect(dropped()).toBe(before + 1);
    director.shell(`headgate ipvsadm -D ${dns} && sysctl -qw net.ipv4.conf.front.rp_filter=0`);
    isSound();
  });

  it('table-full: more than four fifths of the table are taken', () => {
    director.shell(
      'headgate ipvsadm -A -u 10.74.0.100:53 && headgate ipvsadm -a -u 10.74.0.100:53 -r 10.75.0.1:53 -m',
    );
    for (let count = 0; count < 210; count++) {
      const fd = connectOn(director.lab, 'client', 'datagram', { address: vip, port: 53 });
      try {
        sendAll(fd, Buffer.from('one'));
      } catch {
        // Port unreachable: the connection is there all the same.
      } finally {
        closeSocket(fd);
      }
    }
    const [found] = find('table-full', /21\d of 256/);
    expect(found).toMatchObject({ severity: 'risky' });
    director.shell(found!.fix!);
    expect(find('table-full', /./)).toEqual([]);
    expect(director.shell('headgate ipvsadm -L -n')).toMatch(/size=512[\s\S]*UDP {2}10\.74\.0\.100:53/);
    director.shell('headgate ipvsadm -D -u 10.74.0.100:53');
    isSound();
  });

  it('tells it to a person, the worst first, with the count at the end', () => {
    director.shell(
      `sysctl -qw net.ipv4.conf.lo.forwarding=0 && ip link set back mtu 1400 && ip route del default`,
    );
    const { stdout } = director.lab.run('director', 'sh', [
      '-c',
      `${process.execPath} bin/headgate.js doctor`,
    ]);
    expect(stdout).toMatch(/^broken {2}.*\n {8}why: .*\n {8}fix: .*\n {8}id: loopback-settings\n\nrisky {3}/);
    expect(stdout).toMatch(/\n1 broken, 1 risky, 1 note\n$/);
    director.shell(
      `sysctl -qw net.ipv4.conf.lo.forwarding=1 && ip link set back mtu 1500 && ip route add default via 10.75.0.1`,
    );
    isSound();
  });
});
