import { hostname } from 'node:os';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { closeSocket, connectOn, outcome, readLine } from '../network/sockets.ts';
import { requires } from '../requirements.ts';
import { type Daemon, openStatusSite, realServers, type StatusSite, vip } from './status-site.ts';

const configuration = `
virtualServices:
  - name: web
    address: ${vip}:80
    scheduler: rr
    method: masquerade
    realServers:
      - { name: web1, address: ${realServers.web1}:80 }
      - { name: web2, address: ${realServers.web2}:80 }
`;

for (const withDaemon of [false, true])
  requires(
    'root',
    'netns',
    'bpf',
    'ip',
  )(`status, get and describe ${withDaemon ? 'through a daemon' : 'without a daemon'}`, () => {
    let site: StatusSite;
    let daemon: Daemon | undefined;
    let open: number[] = [];
    beforeAll(async () => {
      site = await openStatusSite(withDaemon ? 'std' : 'stn');
      site.write(configuration);
      if (withDaemon) daemon = await site.startDaemon();
      else site.shell('headgate apply lb.yaml');
    });
    afterEach(() => {
      for (const fd of open) closeSocket(fd);
      open = [];
    });
    afterAll(async () => {
      await daemon?.end('SIGTERM');
      site?.close();
    });

    const status = () => {
      const { status, stdout, stderr } = site.run('headgate status -o json');
      expect(stderr).toBe('');
      return { code: status, report: JSON.parse(stdout) };
    };
    const told = (words: string) => JSON.parse(site.shell(`headgate ${words} -o json`));
    /** Opens connections; the names of the real servers that greeted. */
    const connect = (number: number): string[] =>
      Array.from({ length: number }, () => {
        const fd = connectOn(site.lab, 'client', 'stream', { address: vip, port: 80 });
        open.push(fd);
        return readLine(fd);
      });
    /** The clients of a real server as its own kernel lists them: ESTABLISHED is 01. */
    const clientsOf = (node: string): number[] =>
      site
        .shell('cat /proc/net/tcp', node)
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((cells) => cells[3] === '01' && cells[1]?.endsWith(':0050'))
        .map((cells) => Number.parseInt(cells[2]!.split(':')[1]!, 16));
    /** The kernel forgets who answers, so it has to ask anew. */
    const forget = () => site.shell('ip neighbour flush dev back');

    it('is ok where all is well, and names who keeps it', () => {
      const { code, report } = status();
      expect([code, report.health, report.host]).toEqual([0, 'ok', hostname()]);
      expect(report.daemon?.pid).toBe(daemon?.process.pid);
      expect(report.configuration).toMatchObject({
        file: site.file,
        state: 'accepted',
        generation: 1,
        differences: 0,
        runtimeChanges: 0,
      });
      expect(report.virtualAddresses).toEqual({ held: 1, of: 1 });
      const { stdout } = site.run('headgate status');
      expect(stdout).toMatch(withDaemon ? /^daemon +process \d+ since /m : /^daemon +none runs/m);
      expect(stdout).toMatch(/^real servers +2 of 2 ready$/m);
      expect(stdout).not.toContain('PROBLEMS');
    });

    it('says how many connections are left of a real server with weight 0', () => {
      expect(connect(4).toSorted()).toEqual(['web1', 'web1', 'web2', 'web2']);
      const left = clientsOf('web2').length;
      site.shell(`headgate ipvsadm -e -t ${vip}:80 -r ${realServers.web2} -m -w 0`);
      try {
        const { code, report } = status();
        expect(code).toBe(0);
        const [service] = report.services;
        expect(service).toMatchObject({ configuration: 'changed', traffic: 'carrying', usable: 1 });
        const [, web2] = service.realServers;
        expect(web2).toMatchObject({ state: 'draining', weight: 0 });
        expect(web2.reason).toBe(`weight 0 by a change at runtime, ${left} connections left`);
        expect(site.shell('headgate get real-servers web')).toMatch(
          /^web2 .* draining .* connections left$/m,
        );
        const [described] = told('describe web/web2');
        expect(described).toMatchObject({ inForce: { weight: 0 }, configured: { weight: 1 } });
        expect(described.runtimeChanges).toHaveLength(1);
      } finally {
        site.shell(`headgate ipvsadm -e -t ${vip}:80 -r ${realServers.web2} -m -w 1`);
      }
      expect(status().report.services).toMatchObject([{ configuration: 'accepted' }]);
    });

    it('lists connections as the real servers see them, with their way', () => {
      expect(connect(4).toSorted()).toEqual(['web1', 'web1', 'web2', 'web2']);
      const rows = told('get connections web');
      for (const name of ['web1', 'web2']) {
        const own = rows.filter(
          (row: { realServer: string; state: string }) =>
            row.realServer === name && row.state === 'ESTABLISHED',
        );
        const ports = own.map((row: { client: { port: number } }) => row.client.port);
        expect(ports.toSorted()).toEqual(clientsOf(name).toSorted());
        const link = JSON.parse(site.shell('ip -j link show eth0', name))[0];
        expect(told(`describe web/${name}`)).toMatchObject([
          {
            kind: 'real server',
            service: { name: 'web', traffic: 'carrying' },
            connections: { states: { ESTABLISHED: 2 } },
            path: { device: 'back', via: realServers[name as 'web1'], mac: link.address, mtu: link.mtu },
          },
        ]);
      }
      expect(status().report.services).toMatchObject([{ traffic: 'carrying', active: 4, usable: 2 }]);
      const table = site.shell('headgate get connections web');
      expect(
        table.match(/^web +web[12] +tcp +10\.84\.0\.1:\d+ +10\.84\.0\.100:80 +ESTABLISHED +\S+$/gm),
      ).toHaveLength(4);
    });

    it('is degraded by a real server whose link is cut, and ok when it is mended', () => {
      site.shell('ip link set eth0 down', 'web2');
      forget();
      // One of two goes to the real server that does not answer.
      const options = { timeoutMs: 4000 };
      const tries = [1, 2].map(() =>
        outcome(() =>
          open.push(connectOn(site.lab, 'client', 'stream', { address: vip, port: 80 }, options)),
        ),
      );
      expect(tries).toContain('ok');
      const { code, report } = status();
      expect([code, report.health]).toEqual([1, 'degraded']);
      expect(report.services[0].realServers).toMatchObject([
        { name: 'web1', state: 'ready' },
        { name: 'web2', state: 'unreachable', reason: `nobody answers for ${realServers.web2} on back` },
      ]);
      expect(report.problems).toEqual([
        {
          about: ['web/web2'],
          what: `nobody answers for ${realServers.web2} on back`,
          remedy: `is it up, and on that network? ip neighbour show ${realServers.web2}`,
        },
      ]);
      expect(site.shell(`ip neighbour show ${realServers.web2}`)).toMatch(/FAILED|INCOMPLETE/);
      const text = site.run('headgate status');
      expect(text.status).toBe(1);
      expect(text.stdout).toMatch(/^PROBLEMS\n {2}web\/web2: nobody answers .*\n {4}next: is it up/m);
      expect(told('describe web/web2')[0].problems).toEqual(report.problems);
      site.shell('ip link set eth0 up && ip route replace default via 10.85.0.254', 'web2');
      forget();
      for (let round = 0; round < 4; round++)
        outcome(() =>
          open.push(connectOn(site.lab, 'client', 'stream', { address: vip, port: 80 }, options)),
        );
      expect(status().code).toBe(0);
    });

    it('is down without the virtual address, and the printed command mends it', async () => {
      site.shell(`ip address del ${vip}/32 dev front`);
      const { code, report } = status();
      expect([code, report.health]).toEqual([2, 'down']);
      expect(report.services[0]).toMatchObject({ configuration: 'accepted', traffic: 'down', usable: 0 });
      expect(report.virtualAddresses).toEqual({ held: 0, of: 1 });
      const tried = () =>
        outcome(() => open.push(connectOn(site.lab, 'client', 'stream', { address: vip, port: 80 })));
      // Whether an address is the host's own is known for a second.
      await expect.poll(tried, { timeout: 15_000 }).not.toBe('ok');
      site.shell(report.problems[0].remedy);
      expect(status().code).toBe(0);
      await expect.poll(tried, { timeout: 5000 }).toBe('ok');
    });

    it('is degraded by a file with a mistake, which carries on as it was', async () => {
      site.write(configuration.replace('scheduler: rr', 'scheduler: nonsense'));
      await daemon?.logged(/error configuration not in force/);
      const { code, report } = status();
      expect([code, report.health, report.configuration.state]).toEqual([1, 'degraded', 'failed']);
      expect(report.services).toMatchObject([
        withDaemon
          ? { name: 'web', configuration: 'accepted', traffic: expect.stringMatching(/idle|carrying/) }
          : {
              name: `tcp ${vip}:80`,
              configuration: 'unknown',
              traffic: expect.stringMatching(/idle|carrying/),
            },
      ]);
      const [problem] = report.problems;
      expect(problem.about).toEqual([report.configuration.file]);
      expect(problem.what).toContain('1 mistake');
      expect(site.run(problem.remedy)).toMatchObject({
        status: 1,
        stdout: expect.stringContaining('"scheduler": wanted one of rr'),
      });
      site.write(configuration);
      if (withDaemon) site.shell('headgate reload');
      expect(status().code).toBe(0);
    });

    it('knows a service that only another file has, and one that no file has', () => {
      site.shell(
        `headgate ipvsadm -A -u ${vip}:53 -s rr && headgate ipvsadm -a -u ${vip}:53 -r ${realServers.web1} -m`,
      );
      site.shell(`sed 's/name: web$/name: shop/; s/100:80/100:81/' lb.yaml > other.yaml`);
      try {
        const { status, stdout } = site.run('headgate status other.yaml -o json');
        const { services, configuration } = JSON.parse(stdout);
        expect(status).toBe(1);
        expect(configuration.file).toBe('other.yaml');
        expect(
          services.map((one: { name: string; configuration: string }) => [one.name, one.configuration]),
        ).toEqual(
          expect.arrayContaining([
            [`udp ${vip}:53`, 'undescribed'],
            ['shop', 'missing'],
          ]),
        );
        expect(JSON.parse(site.shell('headgate describe shop --file other.yaml -o json'))).toMatchObject([
          { report: { configuration: 'missing' }, configured: { scheduler: 'rr' } },
        ]);
      } finally {
        site.shell(`headgate ipvsadm -D -u ${vip}:53`);
      }
    });

    it('does not know names that nobody has, and says what is near', () => {
      for (const [words, near] of [
        ['describe wbe', 'did you mean "web"?'],
        ['describe web/web3', 'did you mean "web/web1"?'],
        ['get real-servers wbe', 'did you mean "web"?'],
      ])
        expect(site.run(`headgate ${words}`)).toMatchObject({
          status: 1,
          stdout: '',
          stderr: expect.stringMatching(new RegExp(`HG_UNKNOWN_NAME[^]*next: ${near!.replace('?', '\\?')}`)),
        });
      expect(site.run('headgate get servces')).toMatchObject({
        status: 2,
        stderr: expect.stringContaining('next: headgate get services'),
      });
    });

    it('is unreachable for who may not look', () => {
      const stranger = 'setpriv --reuid=65534 --regid=65534 --clear-groups headgate';
      const { status, stdout, stderr } = site.run(`${stranger} status`);
      expect({ status, stdout }).toEqual({ status: 3, stdout: '' });
      expect(stderr).toMatch(/\[HG_NOT_ROOT\]\n {2}next: /);
      // Whether a daemon runs is not for them to see.
      expect(site.run(`${stranger} reload`)).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(
          /^headgate: Cannot reach the daemon at .*this user may not \[HG_NOT_ROOT\]/,
        ),
      });
    });

    if (withDaemon)
      it('is unreachable while the daemon does not answer', () => {
        daemon!.process.kill('SIGSTOP');
        try {
          const { status, stdout, stderr } = site.run('headgate status');
          expect({ status, stdout }).toEqual({ status: 3, stdout: '' });
          expect(stderr).toMatch(/within 10 s, found none \[HG_SOCKET\]\n {2}next: /);
        } finally {
          daemon!.process.kill('SIGCONT');
        }
      });

    if (withDaemon)
      it('looks itself when the daemon is killed, and says that none runs', async () => {
        await daemon!.end('SIGKILL');
        daemon = undefined;
        const { status, stdout } = site.run('headgate status lb.yaml');
        expect(status).toBe(0);
        expect(stdout).toMatch(/^daemon +none runs/m);
      });
  });
