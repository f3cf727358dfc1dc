import { Socket } from 'node:net';
import { resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { requires } from '../requirements.ts';
import { linkKinds, plans, type Site, services, smallTable, standUp } from './site.ts';
import { askTcp, askUdp, closeSocket, connectOn, echoLine, outcome, readLine, tally } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

/* Firewall-mark services: marks by nft, packets by the routed hook, connections by the early one. */

const megabytes = 2_000_000;
const digest = { bytes: megabytes, sha256: patternDigest(megabytes) };
/** Nobody has these addresses; the client sends what is for them to the director. */
const elsewhere = { 4: '10.99.0.1', 6: 'fd99::1' } as const;
const program = resolve(import.meta.dirname, '../../bin/headgate.js');

requires(
  'root',
  'netns',
  'bpf',
  'ip',
  'nft',
)('services of firewall marks', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    let local: Helper;
    const shell = (text: string, node = 'director') => {
      const { status, stdout, stderr } = site.lab.run(node, 'sh', ['-c', text], { env: smallTable });
      if (status !== 0) throw new Error(`${text}: status ${status}, ${stderr}`);
      return stdout;
    };
    const rulesNow = () => `${shell('ip rule')}${shell('ip -6 rule')}`;
    /** Marks what comes in at the front and fits, by nft's own words. */
    const mark = (...rules: string[]) =>
      shell(
        `nft -f - <<'RULES'\ntable inet marks { chain in { type filter hook prerouting priority -150;\n${rules.join('\n')}\n}\n}\nRULES`,
      );
    const settings = (value: 0 | 1) =>
      site.lab.inside('director', () => {
        writeSysctl('net.ipv4.ip_forward', value);
        writeSysctl('net.ipv6.conf.all.forwarding', value);
        for (const family of ['ipv4', 'ipv6']) writeSysctl(`net.${family}.conf.lo.forwarding`, 1);
      });

    beforeAll(async () => {
      site = await standUp('marks', kind);
      local = await startRealServer(site.lab, 'director', { name: 'director', ...services });
      for (const family of [4, 6] as const) {
        shell(`ip -${family} route add ${elsewhere[family]} via ${plans[family].front}`, 'client');
        shell(`ip -${family} route add ${elsewhere[family]} via ${plans[family].client}`);
      }
      settings(1);
    });
    beforeEach(() => void shell('nft flush ruleset'));
    afterEach(() => site.rules());
    afterAll(async () => {
      await local?.stop();
      await site?.down();
    });

    describe.each([4, 6] as const)('IPv%i', (family) => {
      const plan = plans[family];
      const ip = family === 4 ? 'ip' : 'ip6';
      const six = family === 6 ? ' -6' : '';
      const bracketed = (address: string) => (family === 6 ? `[${address}]` : address);
      const masqueraded = (port = '') =>
        [1, 2, 3].map((n) => `-a -f 1${six} -r ${bracketed(plan.backOf(n))}${port} -m`);
      const ask = (port: number, address: string = plan.vip) => askTcp(site.lab, 'client', { address, port });
      const sixTimes = (work: () => string) => tally(Array.from({ length: 6 }, work));
      const each = { real1: 2, real2: 2, real3: 2 };

      it.each([
        { where: "the director's own", address: plan.vip },
        { where: 'on no interface', address: elsewhere[family] },
      ])('masquerades, the virtual address being $where', async ({ address }) => {
        mark(`${ip} daddr ${address} meta l4proto { tcp, udp } meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(family === 6 ? ':0' : ''));
        const made = site.connectionsMade();
        expect(sixTimes(() => ask(7, address))).toEqual(each);
        expect(sixTimes(() => ask(7007, address))).toEqual(each);
        expect(sixTimes(() => askUdp(site.lab, 'client', { address, port: 5300 }).name)).toEqual(each);
        const stream = () =>
          new Socket({ fd: connectOn(site.lab, 'client', 'stream', { address, port: 80 }) });
        expect(await download(stream(), megabytes)).toEqual(digest);
        expect(await upload(stream(), megabytes)).toEqual(digest);
        expect(site.connectionsMade() - made).toBe(20);
      });

      it('sends every port to the one of the real server', () => {
        mark(`${ip} daddr ${plan.vip} tcp dport { 4000, 5000 } meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(':7'));
        expect(ask(4000)).toBe('real3');
        expect(ask(5000)).toBe('real2');
      });

      it('routes directly', () => {
        mark(`${ip} daddr ${plan.sharedVip} tcp dport 7 meta mark set 1`);
        site.rules(
          `-A -f 1${six} -s rr`,
          ...[1, 2, 3].map(
            (n) => `-a -f 1${six} -r ${bracketed(plan.frontOf(n))}${family === 6 ? ':0' : ''} -g`,
          ),
        );
        expect(sixTimes(() => ask(7, plan.sharedVip))).toEqual(each);
      });

      it('keeps a client on one real server over all ports of its mark', () => {
        mark(`${ip} daddr ${plan.vip} tcp dport { 7, 7007 } meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr -p 300`, ...masqueraded(family === 6 ? ':0' : ''));
        const first = ask(7);
        for (let i = 0; i < 4; i++) expect([ask(7), ask(7007)]).toEqual([first, first]);
        const other = { from: { address: plan.clientOf(1) } };
        expect(askTcp(site.lab, 'client', { address: plan.vip, port: 7007 }, other)).not.toBe(first);
        const templates = site
          .ipvsadm('-L', '-n', '-c')
          .split('\n')
          .filter((line) => line.startsWith('IP ') && line.includes('fd71') === (family === 6));
        expect(templates).toHaveLength(2);
        // What IPVS lists: the mark in place of the virtual address (ip_vs_sched_persist).
        if (family === 4)
          expect(templates[0]).toMatch(/^IP {2}0[45]:\d\d +ASSURED +10\.71\.0\.\d+:0 +0\.0\.0\.1:0 /);
      });

      it('explain foretells who gets it, by the rule that sets the mark or by what it is told', () => {
        const address = elsewhere[family];
        // One that no template is left of.
        const client = plan.clientOf(3);
        const explained = (port: number, ...more: string[]) => {
          const virtual = `${bracketed(address)}:${port}`;
          const words = [program, 'explain', client, virtual, '-o', 'json', ...more];
          return JSON.parse(site.lab.run('director', 'node', words, { env: smallTable }).stdout);
        };
        mark(`${ip} daddr ${address} tcp dport { 7, 7007 } meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr -p 300`, ...masqueraded(family === 6 ? ':0' : ''));
        const found = explained(7);
        expect(found).toMatchObject({
          mark: { value: 1, because: expect.stringMatching(/^rule \d+ of chain inet marks in sets it$/) },
          service: { scheduler: 'rr' },
          because: 'its turn is next',
          arrives: { address: plan.backOf(3), port: 7 },
          problems: [],
        });
        const other = { from: { address: client } };
        expect(askTcp(site.lab, 'client', { address, port: 7 }, other)).toBe('real3');
        expect(explained(7007)).toMatchObject({
          because: 'persistence: it has served this client before',
          arrives: { address: plan.backOf(3), port: 7007 },
        });
        const elsewhere80 = explained(80);
        expect(elsewhere80.destination).toBeUndefined();
        expect(elsewhere80.problems[1].what).toMatch(
          /^no rule of nftables gives this packet the mark of a service/,
        );
        expect(explained(80, '--mark', '0x1').arrives).toEqual({ address: plan.backOf(3), port: 80 });
        expect(explained(80, '--mark', '8').problems[1].what).toBe('no virtual service has the mark 8');
        shell('nft flush ruleset');
        mark(`${ip} daddr ${address} meta mark set 1`, 'tcp dport 7 meta mark set 8');
        expect(explained(7).problems[0].what).toMatch(
          /^which mark it gets is not known: rule \d+ .* sets mark 8$/,
        );
        expect(explained(7, '--mark', '1').service).toBeDefined();
      });

      it('goes on without its mark once it is established', () => {
        mark(`${ip} daddr ${plan.vip} tcp dport 7 meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(family === 6 ? ':0' : ''));
        const fd = connectOn(site.lab, 'client', 'stream', { address: plan.vip, port: 7 });
        try {
          expect(readLine(fd)).toBe('real3');
          shell('nft flush ruleset');
          expect(echoLine(fd, 'still there')).toBe('still there');
        } finally {
          closeSocket(fd);
        }
        // The director's own server, as there is no mark any more.
        expect(ask(7)).toBe('director');
      });

      it('is guarded by the firewall', () => {
        mark(`${ip} daddr ${plan.vip} tcp dport 7 meta mark set 1`);
        shell(
          "nft 'add table inet guard; add chain inet guard forward { type filter hook forward priority 0; }; " +
            `add rule inet guard forward ${ip} saddr ${plan.clientOf(2)} reject with tcp reset'`,
        );
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(family === 6 ? ':0' : ''));
        expect(ask(7)).toBe('real3');
        const banned = { from: { address: plan.clientOf(2) } };
        expect(outcome(() => askTcp(site.lab, 'client', { address: plan.vip, port: 7 }, banned))).toBe(
          'ECONNREFUSED',
        );
      });

      it('leaves the host what is not for the service', () => {
        mark(`${ip} daddr ${plan.vip} meta mark set 1`);
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(family === 6 ? ':0' : ''));
        const before = shell(`ping -${family} -c 1 -W 2 ${plan.vip}`, 'client');
        expect(before).toContain('1 received');
      });

      it('serves a destination on the director itself', () => {
        mark(`${ip} daddr ${plan.vip} tcp dport 7 meta mark set 1`);
        site.rules(
          `-A -f 1${six} -s rr`,
          `-a -f 1${six} -r ${bracketed(plan.vip)}${family === 6 ? ':0' : ''} -g`,
        );
        const made = site.connectionsMade();
        const fd = connectOn(site.lab, 'client', 'stream', { address: plan.vip, port: 7 });
        try {
          expect(readLine(fd)).toBe('director');
          expect(echoLine(fd, 'through the pair')).toBe('through the pair');
        } finally {
          closeSocket(fd);
        }
        expect(site.connectionsMade() - made).toBe(1);
      });

      it('serves a client on the director itself', () => {
        shell(
          `nft -f - <<'RULES'\ntable inet marks { chain out { type route hook output priority -150;\n${ip} daddr { ${plan.vip}, ${elsewhere[family]} } tcp dport 7 meta mark set 1\n}\n}\nRULES`,
        );
        site.rules(`-A -f 1${six} -s rr`, ...masqueraded(family === 6 ? ':0' : ''));
        // Not from the address that real servers have too, which is the kernel's choice for IPv6.
        const from = { address: plan.front };
        for (const address of [plan.vip, elsewhere[family]])
          expect(sixTimes(() => askTcp(site.lab, 'director', { address, port: 7 }, { from }))).toEqual(each);
      });
    });

    it('leaves the rules of the host as they were', () => {
      const before = rulesNow();
      site.rules('-A -f 1 -s rr', '-A -f 7 -s rr', '-A -f 7 -6 -s rr');
      const during = rulesNow();
      expect(during).toContain('fwmark 0x1 ipproto tcp lookup 18503 proto 72');
      expect(during.match(/lookup local(?! proto)/g)).toHaveLength(2);
      expect(during.indexOf('fwmark 0x7')).toBeLessThan(during.search(/lookup local(?! proto)/));
      site.ipvsadm('-D', '-f', '1');
      expect(rulesNow()).not.toContain('fwmark 0x1 ');
      // Somebody takes one away: the next command puts it back.
      shell('ip rule del fwmark 7 ipproto tcp lookup 18503');
      site.ipvsadm('-L', '-n');
      const sorted = (text: string) => text.split('\n').sort();
      expect(sorted(rulesNow())).toEqual(sorted(during.replaceAll(/^.*fwmark 0x1 .*\n/gm, '')));
      shell(`${process.execPath} ${program} clean-up`);
      expect(rulesNow()).toBe(before);
      expect(shell('ip route show table 18503 2>&1 || true')).not.toContain('hg1');
    });
  });
});
