import { expect, test } from 'vitest';
import { loadText } from '../load.ts';

test.each([
  [
    'ha.cf of heartbeat',
    'logfile /var/log/ha-log\nkeepalive 2\ndeadtime 30\nauto_failback on\nnode one two\n',
    'failover',
  ],
  ['authkeys of heartbeat', '# keys\nauth 1\n1 crc\n2 sha1 word\n', 'failover'],
  ['haresources of heartbeat', 'one lvs IPaddr::192.0.2.10/24/eth0 ipvsadm ldirectord\n', 'failover'],
  [
    'lvs.cf of Piranha',
    'serial_no = 12\nprimary = 192.0.2.1\nvirtual web {\n  active = 1\n}\n',
    'docs/configuration.md',
  ],
  [
    'a shell script without a call of ipvsadm',
    '#!/bin/sh\ncase "$1" in\n start)\n ;;\nesac\n',
    'docs/agent.md',
  ],
])('%s is told by its name, once, with where to go on', (title, text, hint) => {
  const { problems } = loadText(text, 'some.file');
  expect(problems).toMatchObject([
    {
      code: 'HG_IMPORT_FORMAT',
      message: `file "some.file": wanted a configuration, found ${title}`,
      hint: expect.stringContaining(hint),
    },
  ]);
});

test.each([
  ['in a file that is named as YAML', 'keepalive 2\ndeadtime 30\n', 'some.yaml', 'HG_CONFIG_VALUE'],
  ['in a list of services', 'virtualServices: []\n# keepalive 2\n# auth 1\n', 'some.file', undefined],
])('such words mean nothing %s', (_where, text, name, code) => {
  expect(loadText(text, name).problems[0]?.code).toBe(code);
});
