import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { read } from '../../../../test/keepalived/reading.ts';
import { type BlockName, grammar } from './grammar.ts';

const page = readFileSync(new URL('../../../../docs/from-keepalived.md', import.meta.url), 'utf8');

/** The rows of the tables of old and new words, with the block each table is about. */
function rows(): { block: string; old: string; ours: string }[] {
  return page
    .slice(page.indexOf('## Words'))
    .split('\n### ')
    .slice(1, -1)
    .flatMap((section) => {
      const block = section.slice(0, section.indexOf('\n'));
      return [...section.matchAll(/^\| `([^`]+)` \| `([^`]+)` \|$/gm)].map(([, old, ours]) => ({
        block,
        old: old!,
        ours: ours!,
      }));
    });
}

/** Keywords that begin a line, where a row of the page has several. */
const keywords =
  'digest|name|require_reply|misc_\\w+|auth_pass|vmac_xmit_base|flag-3|[sm]h-\\w+|ops|hysteresis|lthreshold|user|bindto|url|status_code|regex\\w*|virtualhost|sorry_server_lvs_method|persistence_\\w+|m(?:in|ax)_reply_length|notification_email(?:_from)?|HTTP_GET|PING_CHECK';

/** Blocks that stand in one line, as lines: in a file a keyword begins a line. */
const asLines = (text: string): string =>
  text
    .replaceAll(/([{}])/g, '\n$1\n')
    .replaceAll(new RegExp(` (?=(?:${keywords})(?: |$))|(?<=track_file load) `, 'gm'), '\n');

const instance = (inside: string) =>
  `vrrp_instance A {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n192.0.2.10\n}\n${inside}\n}`;

/** A file with the words in the block they belong to, and what the configuration says there. */
function said(block: string, old: string): unknown {
  const lines = asLines(old);
  if (block === 'global_defs') return read(`global_defs {\n${lines}\n}\n${instance('')}`).values;
  if (block === 'vrrp_instance')
    return (read(instance(lines)).values.failover?.vrrp as unknown[] | undefined)?.[0];
  const inside = block === 'real_server' ? lines : 'weight 2\nTCP_CHECK {\n}';
  const outer = block === 'real_server' ? '' : lines;
  const service = read(
    `track_file load {\nfile /run/load\n}\nvirtual_server 192.0.2.10 80 {\nprotocol TCP\nlvs_method DR\n${outer}\nreal_server 10.0.0.11 80 {\n${inside}\n}\n}`,
  ).services?.[0];
  if (block === 'virtual_server') return service;
  const { check, realServers } = service as { check?: unknown; realServers: object[] };
  return { check, ...realServers[0] };
}

test.each(rows())('$block: $old', ({ block, old, ours }) => {
  expect(said(block, old)).toMatchObject(parse(ours));
});

/** Words of the page in backticks, `*` standing for anything. */
const wordsIn = (text: string): RegExp[] =>
  [...text.matchAll(/`([^`\n]+)`/g)]
    .flatMap(([, code]) => code!.split(/[\s,:{}]+/))
    .filter((word) => /^[\w*-]+$/.test(word))
    .map((word) => new RegExp(`^${word.replaceAll('*', '.*')}$`));

test('every keyword of keepalived is on the page', () => {
  const known = wordsIn(page.replaceAll(/^### (\w+)$/gm, '`$1`'));
  const all = [...new Set(Object.values(grammar).flatMap((entries) => Object.keys(entries)))];
  expect(all.filter((keyword) => !known.some((form) => form.test(keyword)))).toEqual([]);
});

/** A file with a line in a block, and which line that is. */
const places: Partial<Record<BlockName, (line: string) => string>> = {
  root: (line) => line,
  global_defs: (line) => `global_defs {\n${line}\n}`,
  SSL: (line) => `SSL {\n${line}\n}`,
  virtual_server: (line) => inServer(`sorry_server 10.0.0.99 80\n${line}\nreal_server 10.0.0.11 80 {\n}`),
  real_server: (line) => inServer(`real_server 10.0.0.11 80 {\n${line}\n}`),
  TCP_CHECK: (line) => inServer(`real_server 10.0.0.11 80 {\nTCP_CHECK {\n${line}\n}\n}`),
  url: (line) => inServer(`real_server 10.0.0.11 80 {\nHTTP_GET {\nurl {\npath /\n${line}\n}\n}\n}`),
  vrrp_instance: instance,
};
const inServer = (inside: string) => `virtual_server 192.0.2.10 80 {\nprotocol TCP\n${inside}\n}`;

test('what the page says to be without a word is told as such', () => {
  const rowsThere = page.slice(page.indexOf('### Without a word here')).split('\n').slice(4);
  const without = wordsIn(rowsThere.map((row) => row.split(' | ')[0]!).join('\n'));
  const kept: string[] = [];
  for (const [block, place] of Object.entries(places))
    for (const [keyword, entry] of Object.entries(grammar[block as BlockName])) {
      // The same word is a keyword of more than one block, and in another one it may mean something.
      if (/^(?:vrrp|fwmark|key|mode|instance|interfaces)$/.test(keyword)) continue;
      if (!without.some((form) => form.test(keyword))) continue;
      const line = entry === 'word' ? `${keyword} 1` : `${keyword} {`;
      const text = place(entry === 'word' ? line : `${line}\n}`);
      const at = text.split('\n').indexOf(line) + 1;
      const kinds = read(text).all.flatMap((note) => (note.line === at ? [note.kind] : []));
      if (kinds.length === 0 || kinds.includes('kept')) kept.push(`${block}: ${keyword}: ${kinds}`);
    }
  expect(kept).toEqual([]);
});

test('all tables are there', () => {
  expect(new Set(rows().map(({ block }) => block))).toEqual(
    new Set(['global_defs', 'virtual_server', 'real_server', 'vrrp_instance']),
  );
  expect(rows().length).toBeGreaterThan(45);
});
