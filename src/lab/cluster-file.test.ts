import { describe, expect, it } from 'vitest';
import type { HeadgateError } from '../model/errors.ts';
import { builtInClusters } from './built-in.ts';
import { readCluster } from './cluster-file.ts';
import { clusterMistakes } from './cluster-mistakes.ts';
import { topologyOf } from './cluster-topology.ts';
import { topologyMistakes } from './topology.ts';

describe('the built-in clusters', () => {
  it.each(builtInClusters.map((cluster) => [cluster.name, cluster] as const))(
    '%s is sound',
    (name, cluster) => {
      expect(clusterMistakes(cluster)).toEqual([]);
      expect(topologyMistakes(topologyOf(cluster, name))).toEqual([]);
      expect(readCluster(JSON.stringify(cluster), 'x.json')).toEqual(cluster);
    },
  );
});

const good = `{
  "name": "mine",
  "nodes": [
    { "name": "client", "role": "client" },
    { "name": "lb", "role": "director" },
    { "name": "rs", "role": "real-server", "gateway": "10.0.1.1" }
  ],
  "links": [
    { "name": "front", "ports": [
      { "node": "client", "addresses": ["10.0.0.2/24"] },
      { "node": "lb", "addresses": ["10.0.0.1/24"] }
    ] },
    { "name": "back", "mtu": 1400, "ports": [
      { "node": "lb", "addresses": ["10.0.1.1/24"] },
      { "node": "rs", "device": "lan", "addresses": ["10.0.1.2/24"] }
    ] }
  ],
  "services": [
    { "address": "10.0.0.10", "port": 80, "scheduler": "wrr", "method": "masquerade",
      "realServers": [{ "node": "rs", "address": "10.0.1.2", "port": 8080, "weight": 3 }] }
  ]
}
`;

/** Every problem of an error, with its place. */
function told(error: unknown): string {
  const { problems } = error as HeadgateError;
  return problems.map(({ file, at, message }) => `${file}:${at.line}:${at.column}: ${message}`).join('\n');
}

/** The message of a file that differs from the good one in one place, and where the sign ^ stood in the change. */
function messageOf(from: string, to: string): { message: string; place: string } {
  expect(good).toContain(from);
  const marked = good.replace(from, to);
  const before = marked.slice(0, marked.indexOf('^')).split('\n');
  const place = `${before.length}:${before.at(-1)!.length + 1}`;
  try {
    readCluster(marked.replace('^', ''), 'mine.json');
  } catch (error) {
    return { message: told(error), place };
  }
  return { message: 'no mistake', place };
}

describe('a cluster file', () => {
  it('fills in what is left out', () => {
    expect(readCluster(good, 'mine.json')).toMatchObject({
      summary: 'From mine.json',
      services: [{ protocol: 'tcp', serves: 'http' }],
    });
  });

  it('gives the director the virtual address, on the device whose network it lies in', () => {
    const topology = topologyOf(readCluster(good, 'mine.json'), 'mine');
    expect(topology.segments[0]!.ports[1]).toMatchObject({
      node: 'lb',
      device: 'eth0',
      addresses: ['10.0.0.1/24', { prefix: '10.0.0.10/32' }],
    });
    expect(topology.segments[1]!.ports).toMatchObject([{ device: 'eth1' }, { device: 'lan' }]);
  });

  it.each([
    [
      '"name": "mine",',
      '"name": "mine", ^"colour": "red",',
      'key "colour": not known here, wanted one of name, summary, nodes',
    ],
    ['"mtu": 1400', '"mtu": ^"1400"', '"mtu": wanted a whole number from 68 to 65535, found "1400"'],
    ['"mtu": 1400', '"mtu": ^14', '"mtu": wanted a whole number from 68 to 65535, found 14'],
    [
      '"nodes": [\n    { "name": "client", "role": "client" },\n    { "name": "lb", "role": "director" }',
      '"nodes": ^[\n    { "name": "client", "role": "client" },\n    { "name": "lb", "role": "router" }',
      'wanted a node with the role "director", found none',
    ],
    [
      '"role": "client"',
      '"role": ^"klient"',
      '"role": wanted one of client, director, real-server, router, found "klient"',
    ],
    [
      '{ "node": "client",',
      '{ "node": ^"clint",',
      'node "clint": there is none of that name; wanted one of client, lb, rs',
    ],
    ['"10.0.1.2/24"', '^"10.0.1.1/24"', 'address 10.0.1.1 of "rs": "lb" has it already'],
    ['"10.0.0.2/24"', '^"10.0.0.2"', 'address "10.0.0.2": wanted an address with its prefix length'],
    [
      '"lan"',
      '^"a-name-of-16-byt"',
      'interface name "a-name-of-16-byt": wanted 1 to 15 bytes without blanks, "/" and ":", found 16 bytes',
    ],
    [
      '"gateway": "10.0.1.1"',
      '"gateway": ^"10.9.1.1"',
      'gateway 10.9.1.1: no link of "rs" leads to its network',
    ],
    ['"masquerade"', '"tunnel"', 'port 8080: tunnel cannot change the port, wanted 80'],
    ['"address": "10.0.0.10"', '"address": ^"10.0.0.2"', 'virtual address 10.0.0.2: "client" has it already'],
    [
      '"address": "10.0.1.2"',
      '"address": ^"10.0.1.9"',
      'real server 10.0.1.9: node "rs" has no such address; it has 10.0.1.2',
    ],
    ['"wrr"', '^"wrrr"', '"scheduler": wanted one of rr, wrr'],
    ['"weight": 3', '"weight": ^70000', '"weight": wanted a whole number from 0 to 65535, found 70000'],
    ['"name": "rs",', '"name": ^"lb",', 'name "lb": used twice'],
    ['{\n  "name": "mine",', '^{', 'the cluster: wanted the key "name", found none'],
    ['"port": 80, ', '"port": 80 ', 'text: not YAML'],
  ])('with %j as %j is told so', (from, to, sentence) => {
    const { message, place } = messageOf(from, to);
    expect(message).toContain(to.includes('^') ? `mine.json:${place}: ${sentence}` : sentence);
  });

  const mistakesOf = (text: string): string => {
    try {
      readCluster(text, 'f');
    } catch (error) {
      return told(error);
    }
    return '';
  };

  it('is told when a masqueraded real server has no way back', () => {
    const text = good.replace(', "gateway": "10.0.1.1"', '');
    expect(mistakesOf(text)).toContain('masqueraded real server "rs": wanted a gateway, the director');
  });

  it('is told all mistakes at once, in the order of the file', () => {
    const text = good.replace('"role": "client"', '"role": 1').replace('"wrr"', '2');
    expect(mistakesOf(text)).toMatch(/^f:4:33: .*\nf:19:56: .*$/);
    const more = good.replace('10.0.0.2/24', '10.0.0.2/33').replace('"mtu": 1400', '"speed": 1');
    expect(mistakesOf(more)).toMatch(/^f:10:41: address "10.0.0.2\/33".*\nf:13:23: key "speed".*$/);
  });

  it('may be YAML as well, with comments; and JSON with tabs', () => {
    const yaml = 'name: mine # ours\nnodes: [{ name: lb, role: director }]\nlinks: []\nservices: []\n';
    expect(readCluster(yaml, 'mine.yaml')).toMatchObject({ name: 'mine', summary: 'From mine.yaml' });
    expect(readCluster(good.replaceAll('  ', '\t'), 'mine.json')).toEqual(readCluster(good, 'mine.json'));
  });
});
