import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { type Director, type Found, standUp, vip } from './director.ts';

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
)('headgate doctor on rules of nftables', () => {
  let director: Director;
  beforeAll(() => {
    director = standUp();
    director.shell(
      `headgate ipvsadm -A -t ${vip}:80 -s rr && headgate ipvsadm -a -t ${vip}:80 -r 10.75.0.1 -m`,
    );
  });
  afterAll(() => director?.down());

  const find: Director['find'] = (id, what) => director.find(id, what);
  const isSound = () => expect(director.examine()).toEqual({ exitCode: 0, findings: [] });

  describe('the way to a service of a firewall mark', () => {
    const nft = (rule: string) =>
      director.shell(
        `nft 'add table inet lvs; add chain inet lvs prerouting { type filter hook prerouting priority mangle; }; add rule inet lvs prerouting ${rule}'`,
      );
    const ids = () => director.examine().findings.map(({ id }) => id);
    beforeEach(() => {
      director.shell('sysctl -qw net.ipv4.ip_forward=1');
      director.shell('headgate ipvsadm -A -f 7 && headgate ipvsadm -a -f 7 -r 10.75.0.1 -m');
      nft('ip daddr 10.74.0.100 tcp dport { 80, 443 } meta mark set 7');
    });
    afterEach(() => {
      director.shell('nft flush ruleset; headgate ipvsadm -D -f 7');
      isSound();
    });

    it('is as it should be', () => expect(ids().filter((id) => id.startsWith('mark-'))).toEqual([]));

    it('mark-unset: no rule sets it', () => {
      director.shell('nft flush ruleset');
      expect(find('mark-unset', /fwmark 7/)).toMatchObject([{ severity: 'risky' }]);
      nft('ip daddr 10.74.0.100 meta mark set 8');
      expect(find('mark-unset', /fwmark 7/)).toHaveLength(1);
      nft('ip daddr 10.74.0.100 meta mark set 0x7');
      expect(find('mark-unset', /./)).toEqual([]);
    });

    it('mark-unset: not where a mark is worked out', () => {
      director.shell('nft flush ruleset');
      nft('ct mark 5 meta mark set ct mark');
      expect(find('mark-unset', /./)).toEqual([]);
    });

    it('mark-forwarding: the kernel does not route', () => {
      director.shell('sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.lo.forwarding=1');
      const [found] = find('mark-forwarding', /net\.ipv4\.ip_forward is 0/);
      expect(found).toMatchObject({ severity: 'broken' });
      director.shell(found!.fix!);
      expect(find('mark-forwarding', /./)).toEqual([]);
    });

    it('mark-rules: somebody has taken one away', () => {
      director.shell('ip rule del fwmark 7 ipproto udp lookup 18503');
      const [found] = find('mark-rules', /"fwmark 0x7 ipproto udp lookup 18503"/);
      expect(found).toMatchObject({ severity: 'broken' });
      director.shell(found!.fix!);
      expect(find('mark-rules', /./)).toEqual([]);
    });

    it('mark-rules: the rule for local addresses comes first', () => {
      director.shell('ip rule add pref 0 from 203.0.113.0/24 lookup main');
      director.shell('ip rule del fwmark 7 ipproto tcp lookup 18503 && headgate ipvsadm -L -n');
      expect(find('mark-rules', /rule of somebody else/)).toMatchObject([{ severity: 'risky' }]);
      director.shell('ip rule del pref 0 from 203.0.113.0/24 lookup main && headgate ipvsadm -L -n');
      expect(find('mark-rules', /./)).toEqual([]);
    });

    it('mark-source-check: the way back is looked up by the mark', () => {
      director.shell('sysctl -qw net.ipv4.conf.front.rp_filter=1 net.ipv4.conf.all.src_valid_mark=1');
      const [found] = find('mark-source-check', /front checks sources strictly/);
      expect(found).toMatchObject({ severity: 'broken' });
      director.shell(found!.fix!);
      expect(find('mark-source-check', /./)).toEqual([]);
      director.shell('sysctl -qw net.ipv4.conf.front.rp_filter=0');
    });
  });

  /* Rules that are about 10.74.0.100:80 over TCP, and rules that are not, in nft's own words. */
  const about: readonly [Found['severity'], string, string, string][] = [
    ['risky', 'ip', 'input', 'ip daddr 10.74.0.100 drop'],
    ['risky', 'ip', 'prerouting', 'ip daddr 10.74.0.64/26 tcp dport 80 reject'],
    ['risky', 'inet', 'input', 'ip daddr { 10.1.0.0/16, 10.74.0.90-10.74.0.110 } drop'],
    ['risky', 'inet', 'input', 'ip daddr != 10.74.0.101 drop'],
    ['risky', 'inet', 'input', 'ip daddr >= 10.74.0.100 drop'],
    ['risky', 'inet', 'input', 'ip daddr . tcp dport { 10.74.0.100 . 80, 10.74.0.1 . 81 } drop'],
    ['risky', 'inet', 'input', 'ip saddr 192.0.2.0/24 ip daddr 10.74.0.100 tcp dport 80 accept'],
    ['risky', 'inet', 'input', 'tcp dport { 22, 79-81 } ct state new limit rate 5/second drop'],
    ['risky', 'inet', 'input', 'tcp dport vmap { 80 : drop, 22 : accept }'],
    ['note', 'inet', 'input', 'tcp dport 80 accept'],
    ['note', 'ip', 'input', 'ip daddr 10.74.0.100 counter'],
    ['risky', 'ip', 'output', 'ip saddr 10.74.0.100 tcp sport 80 drop'],
    ['risky', 'ip', 'aside', 'meta l4proto tcp ip daddr 10.74.0.100 drop'],
  ];
  const beside: readonly [string, string, string][] = [
    ['ip', 'input', 'ip daddr 10.74.0.101 drop'],
    ['ip', 'input', 'ip daddr 10.74.0.100 tcp dport 22 drop'],
    ['ip', 'input', 'ip daddr 10.74.0.100 udp dport 80 drop'],
    ['ip', 'input', 'ip daddr 10.74.0.128/25 drop'],
    ['ip', 'input', 'ip daddr { 10.74.0.90-10.74.0.99, 10.74.0.101 } drop'],
    ['ip', 'input', 'ip daddr . tcp dport { 10.74.0.100 . 81, 10.74.0.101 . 80 } drop'],
    ['ip', 'input', 'ip daddr != 10.74.0.100 drop'],
    ['ip', 'output', 'ip daddr 10.74.0.100 tcp dport 80 drop'],
    ['ip', 'input', 'ip saddr 10.74.0.0/24 drop'],
    ['inet', 'input', 'ip6 daddr fd74::100 tcp dport 80 drop'],
    ['inet', 'input', 'meta nfproto ipv6 tcp dport 80 drop'],
    ['inet', 'input', 'udp dport 80 drop'],
    ['inet', 'input', 'tcp sport 80 drop'],
    ['inet', 'input', 'iifname "front" ct state new drop'],
  ];
  const table = (family: string) =>
    [
      `table ${family} doctor {`,
      ...['prerouting', 'input', 'output'].map(
        (hook) => `chain ${hook} { type filter hook ${hook} priority 0; }`,
      ),
      'chain aside { }',
      '}',
    ].join('\n');
  const makeRules = (rules: readonly (readonly [string, string, string])[]) => {
    const lines = [
      ...['ip', 'inet'].map(table),
      ...rules.map(([family, chain, rule]) => `add rule ${family} doctor ${chain} ${rule}`),
    ].join('\n');
    director.shell(`nft -f - <<'RULES'\n${lines}\nRULES`);
  };
  const dropTables = () => director.shell('nft delete table ip doctor; nft delete table inet doctor');

  it.each(about)('firewall-bypassed (%s): %s %s %s', (severity, family, chain, rule) => {
    makeRules([[family, chain, rule]]);
    try {
      const found = find('firewall-bypassed', new RegExp(`^rule \\d+ of chain ${family} doctor ${chain} `));
      expect(found).toMatchObject([
        { severity, what: expect.stringContaining('speaks of tcp 10.74.0.100:80') },
      ]);
      director.shell(found[0]!.fix!);
      expect(director.shell(`nft list chain ${family} doctor ${chain}`)).not.toMatch(/daddr|saddr|dport/);
      isSound();
    } finally {
      dropTables();
    }
  });

  it('firewall-bypassed: not for rules about something else', () => {
    makeRules(beside);
    try {
      isSound();
    } finally {
      dropTables();
    }
  });

  it('firewall-policy: a chain that drops what it does not know', () => {
    director.shell(
      'nft add table inet doctor; nft add chain inet doctor input "{ type filter hook input priority 0; policy drop; }"',
    );
    expect(find('firewall-policy', /chain inet doctor input/)).toMatchObject([{ severity: 'note' }]);
    director.shell('nft delete table inet doctor');
    isSound();
  });
});
