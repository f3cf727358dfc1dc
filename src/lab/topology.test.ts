import { expect, it } from 'vitest';
import { demoPlan } from './demo-plan.ts';
import { type Topology, topologyMistakes } from './topology.ts';

const good: Topology = {
  name: 'one',
  nodes: [
    { name: 'a' },
    { name: 'b', routes: [{ destination: 'default', gateway: '10.0.0.1', device: 'eth0' }] },
  ],
  segments: [
    {
      name: 'lan',
      ports: [
        { node: 'a', device: 'eth0' },
        { node: 'b', device: 'eth0' },
      ],
    },
  ],
};

it('finds nothing wrong with a good one, nor with the demonstration', () => {
  expect(topologyMistakes(good)).toEqual([]);
  expect(topologyMistakes(demoPlan('demo').topology)).toEqual([]);
});

const lan = good.segments[0]!;
it.each<[string, Partial<Topology>, string]>([
  ['a name that reaches into another lab', { name: 'a-b' }, 'lab name "a-b"'],
  ['two nodes of one name', { nodes: [...good.nodes, { name: 'a' }] }, 'name "a": used twice'],
  ['a segment called like a node', { segments: [{ ...lan, name: 'a' }] }, 'name "a": used twice'],
  ['a segment with one port', { segments: [{ ...lan, ports: lan.ports.slice(1) }] }, 'has 1 ports'],
  [
    'a port of nobody',
    { segments: [{ ...lan, ports: [...lan.ports, { node: 'x', device: 'eth0' }] }] },
    'no node is called "x"',
  ],
  ['a device twice', { segments: [lan, { ...lan, name: 'lan2' }] }, 'device "a/eth0": used twice'],
  [
    'a device name the kernel refuses',
    { segments: [{ ...lan, ports: [{ node: 'a', device: 'sixteen-letters-' }, ...lan.ports] }] },
    'wanted 1 to 15 characters',
  ],
  [
    'a route through a device it lacks',
    { nodes: [{ name: 'a', routes: [{ destination: 'default', device: 'eth9' }] }, { name: 'b' }] },
    'a route names device "eth9"',
  ],
])('names %s', (_what, change, sentence) => {
  expect(topologyMistakes({ ...good, ...change }).join('\n')).toContain(sentence);
});
