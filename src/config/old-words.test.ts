import { expect, test } from 'vitest';
import { loadText } from './load.ts';

// Words of keepalived.conf(5), ldirectord(8), lvs.cf(5), haproxy.cfg and nginx.conf, and ours of CONTRIBUTING.md.
test.each([
  ['lb_algo', 'scheduler'],
  ['lvs_sched', 'scheduler'],
  ['lb_kind', 'method'],
  ['forward', 'method'],
  ['sticky', 'persistence'],
  ['persistence_timeout', 'persistence'],
  ['real_server', 'realServers'],
  ['backends', 'realServers'],
  ['upstream', 'realServers'],
  ['vserver', 'virtualServices'],
  ['sorry_server', 'sorryServer'],
  ['fallback', 'sorryServer'],
])('"%s" is a word of another program: wanted "%s"', (old, ours) => {
  const text = `virtualServices:\n  - name: web\n    address: 192.0.2.1:80\n    ${old}: x\n`;
  const { problems } = loadText(text, 'h.yaml');
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatchObject({ at: { line: 4, column: 5 } });
  expect(`${problems[0]!.message}. ${problems[0]!.hint}`).toContain(`"${ours}"`);
});

test.each([
  ['NAT', 'masquerade'],
  ['masq', 'masquerade'],
  ['gate', 'direct-routing'],
  ['DR', 'direct-routing'],
  ['TUN', 'tunnel'],
  ['ipip', 'tunnel'],
])('method "%s" is another program\'s "%s"', (old, ours) => {
  const text = `virtualServices:\n  - name: web\n    address: 192.0.2.1:80\n    method: ${old}\n`;
  expect(loadText(text, 'h.yaml').problems).toMatchObject([{ hint: `did you mean "${ours}"?` }]);
});
