// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are parameters of keepalived
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { requires } from '../requirements.ts';
import { read } from './reading.ts';

/** An interface for instances of VRRP, which the loopback cannot be. */
const link = 'ip link add vrrp0 type veth peer name vrrp1';

/** What keepalived's own test says of a text: its exit code, and the lines it complains of. */
function keepalivedTest(text: string, folder: string) {
  const file = join(folder, 'keepalived.conf');
  writeFileSync(file, text);
  const { status, stderr } = spawnSync(
    'unshare',
    ['--net', 'sh', '-c', `${link} && exec keepalived --config-test --config-id=one --use-file "$0"`, file],
    { encoding: 'utf8' },
  );
  const lines = [...stderr.matchAll(/Line (\d+)\)/g)].map(([, line]) => Number(line));
  return { status, lines: [...new Set(lines)].sort((a, b) => a - b), stderr };
}

const server = (inside: string) => `virtual_server 192.0.2.10 80 {
  protocol TCP
  lvs_sched rr
  lvs_method NAT
${inside}
}`;
const realServer = (inside: string) => server(`  real_server 10.0.0.11 80 {\n${inside}\n  }`);

/** Texts whose mistakes stand on lines: keepalived says which, and so do the notes that say a line is a mistake. */
const samples: readonly string[] = [
  realServer('    weight 3\n    TCP_CHECK {\n      connect_timeout 2.5\n      retry 0\n    }'),
  realServer('    weigth 3\n    weight 70000\n    weight -1\n    weight 3x'),
  realServer('    uthreshold many\n    inhibit_on_failure perhaps\n    alpha off'),
  server('  lvs_sched nothing\n  lvs_method NONE\n  protocol ICMP\n  real_server 10.0.0.11 80 {\n  }'),
  server('  quorum 0\n  hysteresis x\n  real_server 10.0.0.11 {\n  }'),
  server('  lvs_method TUN type gue\n  lvs_method TUN type gre remcsum\n  real_server 10.0.0.11 80 {\n  }'),
  server('  lvs_method TUN type gue port 6080 csum\n  lvs_method NAT\n  real_server 10.0.0.11 80 {\n  }'),
  server(
    '  sorry_server_inhibit\n  sorry_server 10.0.0.99 80\n  sorry_server_inhibit\n  real_server 10.0.0.11 80 {\n  }',
  ),
  server(
    '  persistence_timeout 0\n  persistence_timeout\n  persistence_granularity 255.255.255.0\n  real_server 10.0.0.11 80 {\n  }',
  ),
  realServer(
    '    HTTP_GET {\n      url {\n        path /a\n        digest 12\n        status_code 99 200\n      }\n      http_protocol 2\n    }',
  ),
  realServer(
    '    HTTP_GET {\n      url {\n        path /\n      }\n      nb_get_retry 3\n      fast_recovery\n    }',
  ),
  realServer(
    '    DNS_CHECK {\n      type NONE\n      name .a\n      name example.org\n      name example.com\n    }',
  ),
  realServer(
    '    UDP_CHECK {\n      payload 12 3\n      payload 00fe\n      require_reply zz\n      min_reply_length 70000\n    }',
  ),
  realServer(
    '    TCP_CHECK {\n      connect_ip 10.0.0\n      connect_port 0\n      bindto nowhere\n      connect_timeout 0\n    }',
  ),
  realServer(
    '    SMTP_CHECK {\n      helo_name a.example\n      host {\n        connect_port 587\n      }\n    }',
  ),
  server('  real_server nowhere 80 {\n    weight 1\n  }\n  real_server 10.0.0.11 80 {\n  }'),
  server('  real_server 10.0.0.11 80 {\n    TCP_CHECK\n    {\n    }\n  }\n  delay_loop soon'),
  server('  real_server 10.0.0.11 80 { weight 1\n TCP_CHECK { } }'),
  server('  real_server "10.0.0.11" 80 {\n    virtualhost "a b # no comment"\n  } ! a comment'),
  `${server('  real_server 10.0.0.11 80 {\n  }')}\n}\n`,
  '$PORT=80\n$REAL= \\\nreal_server 10.0.0.$N ${PORT} { \\\n}\n' +
    server('  ~SEQ(N, 11, 13) $REAL\n  ~LST(N, 20, 21) $REAL'),
  `@one nonsense\n@^one $A=1\n${server('  real_server 10.0.0.11 80 {\n  }')}`,
  `virtual_server_group G {\n  192.0.2.10 80\n  192.0.2.20-5 80\n  192.0.2.17/28 80\n  fwmark x\n  fwmark 1 inet9\n}\n${server(
    '  real_server 10.0.0.11 80 {\n  }',
  )}`,
  'global_defs {\n  lvs_timeouts tcp 900 tcpfin 120 udp 300\n  router_id a\n  nonsense\n}\n',
  'vrrp_instance A {\n  interface vrrp0\n  state SLAVE\n  virtual_router_id 51\n  priority 300\n  virtual_ipaddress {\n    192.0.2.10\n  }\n}\n',
  'vrrp_instance A {\n  interface vrrp0\n  virtual_router_id 51\n  priority 100\n  advert_int 1\n  authentication {\n    auth_type PASS\n    auth_pass secret\n  }\n  virtual_ipaddress {\n    192.0.2.10/24\n  }\n}\n',
];

requires(
  'keepalived',
  'root',
  'netns',
  'ip',
)('keepalived.conf beside keepalived itself', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'headgate-keepalived-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(samples.map((text, i) => [i, text] as const))(
    'sample %i: the same lines are mistakes',
    (_i, text) => {
      const theirs = keepalivedTest(text, folder);
      const { all, problems, testCodes } = read(text);
      const ours = all.filter(({ mistake }) => mistake).map(({ line }) => line);
      expect({ lines: ours, problems }, theirs.stderr).toEqual({ lines: theirs.lines, problems: [] });
      expect(testCodes?.usable === 0, theirs.stderr).toBe(theirs.status === 0);
    },
  );

  test('a keyword without the word it needs ends both', () => {
    for (const inside of ['  delay_loop', '  lvs_sched', '  real_server 10.0.0.11 80 {\n    weight\n  }']) {
      const text = server(`${inside}\n  real_server 10.0.0.12 80 {\n  }`);
      expect(keepalivedTest(text, folder).status).not.toBe(0);
      expect(read(text).problems).toHaveLength(1);
    }
  });

  test('what is put right without a line is put right by both', () => {
    const texts = [
      'virtual_server 192.0.2.10 80 {\n  real_server 10.0.0.11 80 {\n  }\n}',
      server('  quorum 5\n  hysteresis 5\n  real_server 10.0.0.11 80 {\n  }'),
      server('  real_server 10.0.0.11 80 {\n  }\n  real_server 10.0.0.11 80 {\n  }'),
      server('  lvs_method DR\n  real_server 10.0.0.11 8080 {\n  }'),
      server(''),
      'virtual_server 192.0.2.10 {\n  protocol TCP\n  lvs_sched rr\n  lvs_method DR\n  real_server 10.0.0.11 {\n  }\n}',
      'virtual_server fwmark 7 {\n  protocol TCP\n  lvs_sched rr\n  lvs_method DR\n  real_server 10.0.0.11 {\n  }\n}',
      server('  ops\n  real_server 10.0.0.11 80 {\n  }'),
      server('  lvs_method DR\n  real_server 2001:db8::11 80 {\n  }\n  real_server 10.0.0.11 80 {\n  }'),
    ];
    for (const text of texts) {
      const theirs = keepalivedTest(text, folder);
      const { all, problems } = read(text);
      expect(theirs.status, text).not.toBe(0);
      expect({ mistakes: all.some(({ mistake }) => mistake), problems }, text).toEqual({
        mistakes: true,
        problems: [],
      });
    }
  });

  test('every sample of the package can be used', () => {
    const samplesFolder = '/usr/share/doc/keepalived/samples';
    const files = readdirSync(samplesFolder).filter((name) => name.startsWith('keepalived.conf.'));
    expect(files.length).toBeGreaterThan(20);
    for (const name of files) {
      const { configuration, problems } = loadConfiguration(join(samplesFolder, name));
      expect(problems, name).toEqual([]);
      const text = readFileSync(join(samplesFolder, name), 'utf8');
      const services = [...text.matchAll(/^virtual_server /gm)].length;
      expect(configuration?.virtualServices.length, name).toBeGreaterThanOrEqual(services);
      const instances = [...text.matchAll(/^vrrp_instance /gm)].length;
      expect(configuration?.failover?.vrrp.length ?? 0, name).toBe(instances);
    }
  });
});
