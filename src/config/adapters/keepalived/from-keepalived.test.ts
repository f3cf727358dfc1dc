import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { read } from '../../../../test/keepalived/reading.ts';

/** The rows of the tables of old and new words, with the block each table is about. */
function rows(): { block: string; old: string; ours: string }[] {
  const page = readFileSync(new URL('../../../../docs/from-keepalived.md', import.meta.url), 'utf8');
  return page
    .slice(page.indexOf('## Words'))
    .split('\n### ')
    .slice(1)
    .flatMap((section) => {
      const block = section.slice(0, section.indexOf('\n'));
      return [...section.matchAll(/^\| `(.+?)` \| `(.+?)` \|$/gm)].map(([, old, ours]) => ({
        block,
        old: old!,
        ours: ours!,
      }));
    });
}

/** Blocks that stand in one line, as lines: in a file a keyword begins a line. */
const asLines = (text: string): string =>
  text
    .replaceAll(/([{}])/g, '\n$1\n')
    .replaceAll(/ (digest|name|require_reply|misc_dynamic|auth_pass|vmac_xmit_base) ?/g, '\n$1 ')
    .replaceAll(/helo_\nname/g, 'helo_name');

/** A file with the words in the block they belong to, and what the configuration says there. */
function said(block: string, old: string): unknown {
  const lines = asLines(old);
  if (block === 'global_defs') return read(`global_defs {\n${lines}\n}`).values;
  if (block === 'vrrp_instance')
    return (
      read(
        `vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n192.0.2.10\n}\n${lines}\n}`,
      ).values.failover?.vrrp as unknown[] | undefined
    )?.[0];
  const inside = block === 'real_server' ? lines : 'weight 2\nTCP_CHECK {\n}';
  const outer = block === 'real_server' ? '' : lines;
  const service = read(
    `virtual_server 192.0.2.10 80 {\nprotocol TCP\nlvs_method DR\n${outer}\nreal_server 10.0.0.11 80 {\n${inside}\n}\n}`,
  ).services?.[0];
  if (block === 'virtual_server') return service;
  const { check, realServers } = service as { check?: unknown; realServers: object[] };
  return { check, ...realServers[0] };
}

test.each(rows())('$block: $old', ({ block, old, ours }) => {
  expect(said(block, old)).toMatchObject(parse(ours));
});

test('all tables are there', () => {
  expect(new Set(rows().map(({ block }) => block))).toEqual(
    new Set(['global_defs', 'virtual_server', 'real_server', 'vrrp_instance']),
  );
  expect(rows().length).toBeGreaterThan(45);
});
