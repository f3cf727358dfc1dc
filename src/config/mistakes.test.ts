import { describe, expect, test } from 'vitest';
import type { Problem } from '../model/errors.ts';
import { loadText } from './load.ts';

const good = `# The web servers.
dataPlane: auto
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wrr
    method: masquerade
    realServers:
      - { name: web1, address: 10.0.0.11:8080, weight: 3 }
      - name: web2
        address: 10.0.0.12:8080
  - name: dns
    address: [192.0.2.10:53/udp, "[2001:db8::10]:53/udp"]
    realServers:
      - address: 10.0.0.13
      - address: 2001:db8::13
`;

/** The problems of the good file with one change, and where the sign ^ stood in the change. */
function changed(from: string, to: string): { problems: readonly Problem[]; place: string } {
  expect(good).toContain(from);
  const marked = good.replace(from, () => to);
  const before = marked.slice(0, marked.indexOf('^')).split('\n');
  return {
    problems: loadText(marked.replace('^', ''), 'h.yaml').problems,
    place: `${before.length}:${[...before.at(-1)!].length + 1}`,
  };
}

/** A change of the good file with ^ at the place it is to be told at; then code, message and hint, or parts of them. */
// biome-ignore format: a table
const mistakes: readonly (readonly [from: string, to: string, code: string, message: string, hint: string])[] = [
  ['dataPlane: auto', '^dataPlan: auto', 'HG_CONFIG_UNKNOWN_KEY', 'key "dataPlan": not known here', 'did you mean "dataPlane"?'],
  ['dataPlane: auto', 'alerts: { webhook: { url: "http://x/", services: [web, ^wbe] } }', 'HG_CONFIG_CONFLICT', '"wbe": wanted web, dns', 'Change one of them'],
  ['dataPlane: auto', '^colour: red', 'HG_CONFIG_UNKNOWN_KEY', 'key "colour": not known here, wanted one of include, dataPlane', 'Look it up'],
  ['scheduler: wrr', 'scheduler: rr\n    agent: { weights: ^load }', 'HG_CONFIG_CONFLICT', 'weights from load: wanted a scheduler that shares by weight, found rr', 'use scheduler wlc or wrr'],
  ['weight: 3 }', 'weight: ^3, agent: { weights: load } }', 'HG_CONFIG_CONFLICT', 'weights from load: wanted a weight of 10 or more, found 3', 'add "weight: 100"'],
  ['weight: 3 }', 'weight: 3, agent: { ^prot: 1 } }', 'HG_CONFIG_UNKNOWN_KEY', 'key "prot": not known here', 'did you mean "port"?'],
  ['weight: 3 }', 'weight: 3, agent: { interval: ^1ms } }', 'HG_CONFIG_VALUE', '"interval": wanted a duration from 100ms to 1h', ''],
  ['weight: 3 }', 'weight: 3, agent: ^nobody }', 'HG_CONFIG_VALUE', '"agent": wanted keys and values, or none', ''],
  ['method: masquerade', 'check: { type: script, command: [^"", a] }', 'HG_CONFIG_VALUE', '"command", entry 1: wanted the name of a program, found ""', 'Write'],
  ['method: masquerade', 'check: { type: script, command: ^[] }', 'HG_CONFIG_VALUE', '"command": wanted a command: a list of words', 'Write'],
  ['scheduler: wrr', 'scheduler: ^wwr', 'HG_CONFIG_VALUE', '"scheduler": wanted one of rr, wrr,', 'did you mean "wrr"?'],
  ['method: masquerade', 'method: ^NAT', 'HG_CONFIG_VALUE', '"method": wanted one of masquerade, direct-routing, tunnel, full-nat, found "NAT"', 'did you mean "masquerade"?'],
  ['weight: 3', 'weight: ^"3"', 'HG_CONFIG_VALUE', '"weight": wanted a whole number from 0 to 65535, found "3"', 'write it without quotes'],
  ['weight: 3', 'weight: ^65536', 'HG_CONFIG_VALUE', '"weight": wanted a whole number from 0 to 65535, found 65536', 'Write'],
  ['weight: 3', '^weight: ', 'HG_CONFIG_VALUE', '"weight": wanted a whole number from 0 to 65535, found nothing', 'Write'],
  ['name: web1, ', 'name: ^1, ', 'HG_CONFIG_VALUE', '"name": wanted a name of 1 to 63', 'put quotes around it: "1"'],
  ['address: 192.0.2.10:80', 'address: ^192.0.2.256:80', 'HG_CONFIG_VALUE', '"address": wanted an address with its port', 'Write'],
  ['192.0.2.10:53/udp,', '^192.0.2.10:99999,', 'HG_CONFIG_VALUE', '"address", entry 1: wanted an address with its port', 'Write'],
  ['"[2001:db8::10]:53/udp"', '^2001:db8::10:53', 'HG_CONFIG_VALUE', '"address", entry 2: wanted', 'an IPv6 address with a port is written in brackets and quotes'],
  ['  - name: web\n    address', '  - ^address', 'HG_CONFIG_MISSING_KEY', '"virtualServices", entry 1: wanted the key "name", found none', 'add "name: ..."'],
  ['method: masquerade', 'persistence: ^300', 'HG_CONFIG_VALUE', '"persistence": wanted a duration such as 5m, or keys and values, found 300', 'write the unit: 300s'],
  ['method: masquerade', 'persistence: { timeout: ^5 }', 'HG_CONFIG_VALUE', '"timeout": wanted a duration of whole seconds', 'write the unit: 5s'],
  ['scheduler: wrr', 'persistence: { ^time: 5m }', 'HG_CONFIG_UNKNOWN_KEY', 'key "time": not known here', 'Look'],
  ['method: masquerade', 'check: { type: ^htp }', 'HG_CONFIG_VALUE', '"type": wanted one of tcp, tls, http,', 'did you mean "http"?'],
  ['scheduler: wrr', 'check: { type: tcp, ^path: / }', 'HG_CONFIG_UNKNOWN_KEY', 'key "path": not known here', 'Look'],
  ['scheduler: wrr', '^whenDown: quiesce', 'HG_CONFIG_UNKNOWN_KEY', 'key "whenDown": not known here', 'it belongs into "check": { whenDown: ... }'],
  ['weight: 3 }', 'weight: 3, ^interval: 2s }', 'HG_CONFIG_UNKNOWN_KEY', 'key "interval": not known here', 'it belongs into "check": { interval: ... }'],
  ['weight: 3 }', 'weight: 3, ^port: 8080 }', 'HG_CONFIG_UNKNOWN_KEY', 'key "port": not known here', 'it belongs into "address", behind a colon'],
  ['method: masquerade', 'check: ^{ path: / }', 'HG_CONFIG_MISSING_KEY', '"check": wanted the key "type", found none', 'add'],
  ['address: [192.0.2.10:53/udp, "[2001:db8::10]:53/udp"]\n', 'fwmark: 7\n    family: both\n    check: ^{ type: http }\n', 'HG_CONFIG_CONFLICT', 'check http: wanted the key "port", as neither the real server nor the service has one', 'add "port: 80" to the check'],
  ['dataPlane: auto', 'own: ^yes', 'HG_CONFIG_VALUE', '"own": wanted true or false, found "yes"', 'did you mean "true"?'],
  ['address: 192.0.2.10:80', '^adress: 192.0.2.10:80', 'HG_CONFIG_UNKNOWN_KEY', 'key "adress": not known here', 'did you mean "address"?'],
  ['name: dns', '^nmae: dns', 'HG_CONFIG_UNKNOWN_KEY', 'key "nmae": not known here', 'did you mean "name"?'],
  ['- name: web\n    address: 192.0.2.10:80', '- ^name: web', 'HG_CONFIG_CONFLICT', 'virtual service "web": wanted "address" or "fwmark", found neither', 'add "address: 192.0.2.10:80"'],
  ['- name: web', '- ^name: web\n    fwmark: 7', 'HG_CONFIG_CONFLICT', 'found both', 'remove one of them'],
  ['name: dns', 'name: ^web', 'HG_CONFIG_CONFLICT', 'virtual service "web": that name is taken in h.yaml:4', 'Change'],
  ['[192.0.2.10:53/udp,', '[^192.0.2.10:80,', 'HG_CONFIG_CONFLICT', 'tcp 192.0.2.10:80: virtual service "web" has it already, h.yaml:4', 'Change'],
  ['address: 10.0.0.13', 'address: ^10.0.0.13:5353', 'HG_CONFIG_CONFLICT', 'real server 10.0.0.13:5353: direct-routing cannot change the port, wanted 53, found 5353', 'leave'],
  ['address: 10.0.0.12:8080', 'address: ^10.0.0.11:8080', 'HG_CONFIG_CONFLICT', 'real server 10.0.0.11:8080: named twice in "web"', 'Change'],
  ['address: 10.0.0.12:8080', 'address: ^"[2001:db8::1]:8080"', 'HG_CONFIG_CONFLICT', 'wanted the family of an address of "web", found IPv6', 'Change'],
  ['address: 192.0.2.10:80', 'address: ^192.0.2.10:*', 'HG_CONFIG_CONFLICT', 'every port needs persistence', 'add'],
  ['method: masquerade', 'onePacket: ^true\n    method: masquerade', 'HG_CONFIG_CONFLICT', '"onePacket": wanted udp', 'Change'],
  ['weight: 3', 'upperThreshold: 5, lowerThreshold: ^6', 'HG_CONFIG_CONFLICT', '"lowerThreshold": wanted at most the upper threshold, 5, found 6', 'Change'],
  ['address: 10.0.0.12:8080', 'address: ^224.0.0.1:8080', 'HG_CONFIG_CONFLICT', '224.0.0.1 is not a unicast address', 'Change'],
  ['dataPlane: auto', 'dataPlane: auto\n^dataPlane: ebpf', 'HG_CONFIG_DUPLICATE_KEY', 'key "dataPlane": given in line 2 already', 'Keep'],
  ['    scheduler: wrr', '^\t scheduler: wrr', 'HG_CONFIG_SYNTAX', 'indentation: wanted spaces, found a tab', 'replace'],
  ['    scheduler: wrr', '^\u00a0\u00a0  scheduler: wrr', 'HG_CONFIG_CHARACTER', 'found a no-break space (U+00A0)', 'delete'],
  ['scheduler: wrr', 'scheduler:^\u00a0wrr', 'HG_CONFIG_CHARACTER', 'found a no-break space (U+00A0)', 'delete'],
  ['scheduler: wrr', 'scheduler: wrr^\u0007', 'HG_CONFIG_CHARACTER', 'found a sign that is not text (U+0007)', 'delete'],
  ['scheduler: wrr', 'scheduler: ^*nobody', 'HG_CONFIG_SYNTAX', 'alias "*nobody": no "&nobody" comes before it', 'Look'],
  ['"[2001:db8::10]:53/udp"]', '^[2001:db8::10]:53/udp]', 'HG_CONFIG_SYNTAX', 'key: wanted a word', 'put quotes around an IPv6 address'],
  ['address: 192.0.2.10:80', 'address: [2001:db8::10]^:80', 'HG_CONFIG_SYNTAX', 'text: not YAML', 'put quotes around an IPv6 address'],
  ['dataPlane: auto', 'dataPlane: auto\n^---', 'HG_CONFIG_SYNTAX', 'file: wanted one document, found a second one', 'remove'],
  ['scheduler: wrr', 'scheduler: ^!!binary d3Jy', 'HG_CONFIG_SYNTAX', 'tags have no meaning here', 'remove'],
];

describe('a mistake is told with its place, code, what is wanted, what was found and the next step', () => {
  test.each(mistakes)('%j as %j', (from, to, code, message, hint) => {
    const { problems, place } = changed(from, to);
    expect(problems.map(({ at }) => `${at.line}:${at.column}`)).toEqual([place]);
    expect(problems[0]).toMatchObject({ code, file: 'h.yaml' });
    expect(problems[0]!.message).toContain(message);
    expect(problems[0]!.hint).toContain(hint);
  });
});

test('all mistakes come at once, in the order of the file, and one does not hide another', () => {
  const text = good
    .replace('dataPlane: auto', 'dataPlane: atuo')
    .replace('weight: 3', 'wieght: 3')
    .replace('name: dns', 'name: dns\n    vip: x')
    .replace('address: 10.0.0.13', 'address: 10.0.0.13:54');
  expect(loadText(text, 'h.yaml').problems.map(({ at, code }) => [at.line, code])).toEqual([
    [2, 'HG_CONFIG_VALUE'],
    [9, 'HG_CONFIG_UNKNOWN_KEY'],
    [13, 'HG_CONFIG_OLD_WORD'],
    [16, 'HG_CONFIG_CONFLICT'],
  ]);
  const other = good.replace('weight: 3', 'wieght: 3').replace('address: 10.0.0.13', 'address: 10.0.0.13:54');
  expect(loadText(other, 'h.yaml').problems.map(({ at, code }) => [at.line, code])).toEqual([
    [9, 'HG_CONFIG_UNKNOWN_KEY'],
    [15, 'HG_CONFIG_CONFLICT'],
  ]);
});

test('a name and an address that are taken are told beside mistakes of whoever has them', () => {
  const text = `virtualServices:
  - { name: web, address: 192.0.2.10:80, scheduler: wwr, realServers: [] }
  - { name: web, address: ["192.0.2.11:80", "192.0.2.10:80"], realServers: [] }
  - { name: 1, fwmark: 7, realServers: [] }
  - { name: mark, fwmark: 7, family: both, realServers: [] }
  - { name: other, address: 192.0.2.256:80, fwmark: wrong, realServers: [] }
`;
  expect(loadText(text, 'h.yaml').problems.map(({ at, message }) => [at.line, message])).toEqual([
    [2, expect.stringMatching(/^"scheduler": wanted one of/)],
    [3, 'virtual service "web": that name is taken in h.yaml:2'],
    [3, 'tcp 192.0.2.10:80: virtual service "web" has it already, h.yaml:2'],
    [4, expect.stringMatching(/^"name": wanted a name/)],
    [5, 'fwmark 7: another virtual service has it already, h.yaml:4'],
    [6, expect.stringMatching(/^"address": wanted an address/)],
    [6, expect.stringMatching(/^"fwmark": wanted a whole number/)],
  ]);
});

test('the code frame shows the line in its surroundings, with a caret under each sign', () => {
  expect(changed('scheduler: wrr', 'scheduler: ^wwr').problems[0]!.frame).toEqual([
    '5 |     address: 192.0.2.10:80',
    '6 |     scheduler: wwr',
    '  |                ^^^',
    '7 |     method: masquerade',
  ]);
  const [tab] = loadText('a\tb: 1\ndataPlane: x', 'h.yaml').problems;
  expect(tab!.frame).toEqual(['1 | a→b: 1', '  | ^^^', '2 | dataPlane: x']);
});
