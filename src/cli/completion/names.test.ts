import { expect, test } from 'vitest';
import { printNames, servicesIn } from './names.ts';

test('servicesIn() names services and real servers as commands take them', async () => {
  const text = `virtualServices:
  - name: web
    address: [192.0.2.10:80, "[2001:db8::10]:80"]
    realServers:
      - { name: web1, address: 10.0.0.11 }
      - { address: 10.0.0.12 }
      - { address: 10.0.0.13:8080 }
      - { address: "2001:db8::11" }
      - { address: "[2001:db8::12]:81" }
  - name: mark
    fwmark: 7
    realServers:
      - { address: 10.0.0.11 }
  - name: dns
    address: 192.0.2.10:53/udp
    realServers: [{ address: 10.0.0.14 }]
`;
  const services = await servicesIn(text);
  expect(services.map(({ word, about }) => [word, about])).toEqual([
    ['web', '192.0.2.10:80, [2001:db8::10]:80'],
    ['mark', ''],
    ['dns', '192.0.2.10:53/udp'],
  ]);
  expect(services.map(({ realServers }) => realServers.map(({ word }) => word))).toEqual([
    ['web/web1', 'web/10.0.0.12:80', 'web/10.0.0.13:8080', 'web/[2001:db8::11]:80', 'web/[2001:db8::12]:81'],
    ['mark/10.0.0.11'],
    ['dns/10.0.0.14:53'],
  ]);
});

test.each([[], ['frob'], ['constructor'], ['--help']])('nothing is said about %j', async (...words) => {
  const said: string[] = [];
  const stream = { write: (text: string) => said.push(text) };
  await printNames(words, { stdout: stream, stderr: stream });
  expect(said.join('')).toBe('');
});
