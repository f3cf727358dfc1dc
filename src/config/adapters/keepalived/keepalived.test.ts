// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are parameters of keepalived
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { folder, read } from '../../../../test/keepalived/reading.ts';
import { importFile } from '../../import.ts';
import { loadConfiguration } from '../../load.ts';

test('a virtual server with its real servers and checkers', () => {
  const { services, notes } = read(`
    virtual_server 192.0.2.10 80 {
      delay_loop 6
      lb_algo wrr
      lb_kind DR
      protocol TCP
      real_server 10.0.0.11 80 {
        weight 3
        TCP_CHECK {
          connect_timeout 2
          retry 3
          delay_before_retry 0.5
        }
      }
      real_server 10.0.0.12 80 {
        HTTP_GET {
          url {
            path /health
            status_code 200-204 301
          }
          virtualhost www.example.org
        }
      }
    }`);
  expect(services).toEqual([
    {
      name: 'http-192.0.2.10',
      address: '192.0.2.10:80',
      scheduler: 'wrr',
      realServers: [
        {
          address: '10.0.0.11',
          weight: 3,
          check: { type: 'tcp', interval: '6s', timeout: '2s', retryInterval: '500ms', fall: 4 },
        },
        {
          address: '10.0.0.12',
          check: {
            type: 'http',
            path: '/health',
            host: 'www.example.org',
            status: ['200-204', 301],
            version: 'HTTP/1.0',
            interval: '6s',
            retryInterval: '3s',
            fall: 2,
          },
        },
      ],
    },
  ]);
  expect(notes).toEqual([]);
});

test('what is said nearest to a checker counts, else what is usual in keepalived', () => {
  const { services } = read(`
    virtual_server 192.0.2.10 80 {
      protocol TCP
      lvs_sched rr
      lvs_method NAT
      connect_timeout 3
      alpha
      inhibit_on_failure
      real_server 10.0.0.11 80 {
        delay_loop 20
        TCP_CHECK {
        }
      }
      real_server 10.0.0.12 80 {
        inhibit_on_failure off
        TCP_CHECK {
          delay_loop 7
          alpha off
          warmup 0
        }
      }
      real_server 10.0.0.13 80 {
      }
    }`);
  expect(services?.[0]).toMatchObject({
    realServers: [
      {
        check: {
          ...{ type: 'tcp', interval: '20s', timeout: '3s', retryInterval: '1s', fall: 2 },
          ...{ initial: 'down', whenDown: 'quiesce' },
        },
      },
      { check: { type: 'tcp', interval: '7s', timeout: '3s', retryInterval: '1s', fall: 2, warmup: '0s' } },
      { address: '10.0.0.13' },
    ],
  });
});

test('a virtual server that says nothing is UDP, wlc and NAT, as in keepalived', () => {
  const { services, notes } = read(`virtual_server 192.0.2.10 53 {
    real_server 10.0.0.11 53 {
    }
  }`);
  expect(services).toEqual([
    {
      name: 'dns-192.0.2.10',
      address: '192.0.2.10:53/udp',
      method: 'masquerade',
      realServers: [{ address: '10.0.0.11' }],
    },
  ]);
  expect(notes).toEqual([
    '1 changed: no "protocol": keepalived takes UDP then; no "lvs_sched": wlc; no "lvs_method": NAT',
  ]);
});

test('files that are included, by patterns, and what they define', () => {
  const { services, problems } = read('include conf.d/*.conf', {
    'conf.d/1-names.conf': '$VIP=192.0.2.10\n$REAL= \\\n  real_server 10.0.0.${NUMBER} 80 { \\\n  }',
    'conf.d/2-web.conf':
      'virtual_server ${VIP} 80 {\nprotocol TCP\nlb_algo rr\nlb_kind DR\n~SEQ(NUMBER, 11, 13) $REAL\n}',
    'conf.d/.hidden.conf': 'nonsense',
  });
  expect(problems).toEqual([]);
  expect(services).toMatchObject([
    {
      address: '192.0.2.10:80',
      realServers: [{ address: '10.0.0.11' }, { address: '10.0.0.12' }, { address: '10.0.0.13' }],
    },
  ]);
});

test('an included file is named in notes and problems', () => {
  const { notes, problems } = read('include a.conf\nvirtual_server 192.0.2.10 80 {\n delay_loop\n}', {
    'a.conf': 'virtual_server 192.0.2.9 80 {\n  nonsense 7\n}\n',
  });
  expect(notes).toContain('a.conf:2 ignored: keyword "nonsense" is not known in virtual_server');
  expect(problems).toEqual(['keepalived.conf:3:2 "delay_loop": wanted a time in seconds, found none']);
});

test('the content tells the format', () => {
  const files = folder({ 'lvs.txt': '\n# lvs\n@one virtual_server 192.0.2.1 80\n{\n}\n' });
  const context = { names: { portOf: () => undefined, addressOf: () => undefined }, environment: {} };
  expect(importFile('lvs.txt', { ...context, files }).format).toBe('keepalived');
});

test.each([
  [
    'nothing to say',
    'virtual_server 192.0.2.1 80 {\nprotocol TCP\nlvs_sched rr\nlvs_method DR\nreal_server 10.0.0.1 {\n}\n}',
    0,
  ],
  ['what only we say', 'global_defs {\nenable_traps\n}', 0],
  ['an unknown keyword', 'global_defs {\nnonsense\n}', 4],
  ['a program that is there', 'vrrp_script a {\nscript "/bin/check"\n}', 5],
  ['a program that is not there', 'vrrp_script a {\nscript "/bin/none"\n}', 0],
  ['script security', 'global_defs {\nenable_script_security\n}\nvrrp_script a {\nscript "/bin/check"\n}', 0],
])('the exit code of the test of keepalived: %s', (_what, text, code) => {
  const { testCodes } = read(text, { '/bin/check': '' });
  expect(testCodes).toEqual({ usable: code, unusable: 3 });
});

test('an unknown keyword is passed over with its block', () => {
  const { services, notes } = read(`virtual_server 192.0.2.1 80 {
    protocol TCP
    real_sever 10.0.0.1 80 {
      weight 1
      TCP_CHECK {
      }
    }
    lvs_sched rr
    lvs_method DR
    real_server 10.0.0.2 80 {
    }
  }`);
  expect(services).toMatchObject([{ scheduler: 'rr', realServers: [{ address: '10.0.0.2' }] }]);
  expect(notes).toEqual([
    '3 ignored: keyword "real_sever" is not known in virtual_server; did you mean "real_server"?',
    '4 ignored: it stands in the unknown block "real_sever"',
    '5 ignored: it stands in the unknown block "real_sever"',
  ]);
});

test('a group is one service for its addresses and one for each mark', () => {
  const { services, problems } = read(`virtual_server_group G {
    192.0.2.254-192.0.3.1 80
    2001:db8::fe-100 80
    198.51.100.0/30 443
    fwmark 7
  }
  virtual_server group G {
    protocol TCP
    lvs_sched rr
    lvs_method TUN
    real_server 10.0.0.2 {
    }
  }`);
  expect(problems).toEqual([]);
  expect(services).toMatchObject([
    {
      name: 'G',
      address: [
        ...['192.0.2.254:80', '192.0.2.255:80', '192.0.3.0:80', '192.0.3.1:80'],
        ...['[2001:db8::fe]:80', '[2001:db8::ff]:80', '[2001:db8::100]:80'],
        ...['198.51.100.0:443', '198.51.100.1:443', '198.51.100.2:443', '198.51.100.3:443'],
      ],
    },
    { name: 'fwmark-7', fwmark: 7 },
  ]);
});

const more = process.env.EXTRA_FIXTURES;

describe.skipIf(!more)('keepalived.conf of EXTRA_FIXTURES', () => {
  const load = (name: string) => {
    const file = join(more!, '003', name);
    const text = readFileSync(file, 'utf8').split('\n');
    const { configuration, problems, warnings, testCodes } = loadConfiguration(file);
    return { text, configuration, problems, warnings, testCodes };
  };

  const files = [
    ['keepalived.conf.MASTER', 100, 'master'],
    ['keepalived.conf.BACKUP', 50, 'backup'],
    ['keepalived.conf.annotated.original', 100, 'master'],
    ['keepalived.conf.annotated.fixed', 100, 'master'],
  ] as const;
  test.each(more ? files : [])('%s can be used', (name, priority, initial) => {
    const { configuration, problems } = load(name);
    expect(problems).toEqual([]);
    expect(configuration?.virtualServices).toMatchObject([
      {
        address: [{ address: '192.168.200.254', port: 80, protocol: 'tcp' }],
        scheduler: 'rr',
        method: 'direct-routing',
        check: [{ type: 'tcp', interval: 6000, timeout: 10_000, retryInterval: 3000, fall: 4 }],
        realServers: [
          { address: { address: '192.168.200.103' }, weight: 1 },
          { address: { address: '192.168.200.104' }, weight: 1 },
        ],
      },
    ]);
    expect(configuration?.failover?.vrrp).toMatchObject([
      { name: 'VI_1', interface: 'eth0', routerId: 51, version: 2, priority, initial },
    ]);
    expect(configuration?.alerts?.mail).toMatchObject([{ to: ['crushlinux@163.com'] }]);
  });

  test.each(more ? ['keepalived.conf.annotated.original'] : [])(
    '%s: words behind a value and two lines without # are warnings',
    (name) => {
      const { text, warnings, testCodes } = load(name);
      const lines = (form: RegExp) =>
        warnings.filter(({ reason }) => form.test(reason)).map(({ line }) => line);
      const unknown = lines(/is not known in/);
      expect(unknown.map((line) => /^(端口|权值)/.test(text[line - 1]!))).toEqual([true, true]);
      expect(lines(/behind the value is left out/)).toEqual([
        text.findIndex((line) => /^virtual_router_id 51 \S/.test(line)) + 1,
      ]);
      expect(testCodes?.usable).toBe(4);
    },
  );
});
