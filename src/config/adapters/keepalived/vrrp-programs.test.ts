import { expect, test } from 'vitest';
import { read } from '../../../../test/keepalived/reading.ts';

const instance = (more: string) =>
  `vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n192.0.2.10\n}\n${more}\n}`;

test('programs, whom they run as, and the pipe', () => {
  const { values, notes, problems } = read(`
    global_defs {
      script_user nobody nogroup
      vrrp_notify_fifo /run/vrrp.fifo
    }
    ${instance(`
      notify_master "/bin/on master" www-data
      notify_backup "/bin/on backup" www-data:www-data
      notify "/bin/all"`)}
    vrrp_instance B {
      interface eth1
      virtual_router_id 52
      virtual_ipaddress {
        192.0.2.11
      }
    }
    vrrp_sync_group G {
      group {
        A
        B
      }
      notify_fault "/bin/on fault"
    }`);
  expect(problems).toEqual([]);
  expect(notes).toEqual([]);
  expect(values.failover).toMatchObject({
    vrrp: [
      {
        notify: {
          master: ['/bin/on', 'master'],
          backup: ['/bin/on', 'backup'],
          change: ['/bin/all'],
          user: 'www-data',
        },
      },
      { name: 'B' },
    ],
    groups: [{ name: 'G', notify: { fault: ['/bin/on', 'fault'] } }],
    ...{ user: 'nobody', group: 'nogroup', pipe: '/run/vrrp.fifo' },
  });
});

test('files, processes, and what a group tracks', () => {
  const { values, notes, problems } = read(`
    track_file load {
      file /run/load
      weight 2
    }
    vrrp_track_process web {
      process haproxy -f "/etc/a b"
      param_match initial
      quorum 2
      delay 1.5
    }
    vrrp_track_process unused {
      process none
    }
    vrrp_script fit {
      script "/bin/fit"
      user nobody
      weight 10 reverse
    }
    ${instance('track_file {\nload\n}\ntrack_process {\nweb weight -20 reverse\n}')}
    vrrp_instance B {
      interface eth1
      virtual_router_id 52
      virtual_ipaddress {
        192.0.2.11
      }
    }
    vrrp_sync_group G {
      group {
        A
        B
      }
      track_script {
        fit
      }
    }`);
  expect(problems).toEqual([]);
  expect(notes.filter((one) => one.includes('ignored'))).toEqual([]);
  expect(values.failover).toEqual({
    vrrp: [
      expect.objectContaining({
        trackFiles: [{ name: 'load', weight: 2 }],
        trackProcesses: [{ name: 'web', weight: -20, reverse: true }],
        trackScripts: [{ name: 'fit', weight: 10, reverse: true }],
      }),
      expect.objectContaining({ trackScripts: [{ name: 'fit', weight: 10, reverse: true }] }),
    ],
    groups: [{ name: 'G', instances: ['A', 'B'] }],
    scripts: [{ name: 'fit', command: ['/bin/fit'], user: 'nobody' }],
    files: [{ name: 'load', path: '/run/load' }],
    processes: [
      {
        ...{ name: 'web', command: ['haproxy', '-f', '/etc/a b'], match: 'prefix' },
        ...{ least: 2, riseDelay: '1s500ms', fallDelay: '1s500ms' },
      },
    ],
  });
});

const mail = 'smtp_server 192.0.2.25\nnotification_email {\na@example.org\n}';

test.each([
  ['', '', undefined],
  [
    'smtp_alert_vrrp',
    '',
    ['real-server-down', 'real-server-up', 'quorum-lost', 'quorum-gained', 'vrrp-transition'],
  ],
  ['smtp_alert_vrrp\nsmtp_alert_checker no', '', ['vrrp-transition']],
  [
    '',
    'smtp_alert',
    ['real-server-down', 'real-server-up', 'quorum-lost', 'quorum-gained', 'vrrp-transition'],
  ],
])('mails of VRRP: %j %j', (global, own, on) => {
  const { values } = read(`global_defs {\n${mail}\n${global}\n}\n${instance(own)}`);
  expect((values as { alerts?: { mail?: { on?: unknown } } }).alerts?.mail?.on).toEqual(on);
});
