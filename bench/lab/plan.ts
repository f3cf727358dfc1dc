import type { Topology } from '../../src/lab/topology.ts';

/** Addresses of the measured network. */
export const plan = {
  client: '10.81.0.1',
  /** The director's own, on the two networks. */
  front: '10.81.0.254',
  back: '10.82.0.254',
  realServers: [
    { name: 'real1', front: '10.81.0.11', back: '10.82.0.11' },
    { name: 'real2', front: '10.81.0.12', back: '10.82.0.12' },
  ],
  /** Two, so that a turn of new connections has 64,512 pairs of ports before one comes again. */
  httpPorts: [8000, 8001],
  /** The same, for the first real server alone. */
  alonePorts: [8002, 8003],
  /** Sends for as long as the client listens. */
  sourcePort: 9000,
  /** Takes what the client sends. */
  sinkPort: 9001,
} as const;

const sharedPorts = [...plan.httpPorts, plan.sourcePort, plan.sinkPort];

/** What a balancer serves, and by whom. */
export const services = [
  ...sharedPorts.map((port) => ({ port, servers: plan.realServers.map(({ back }) => back) })),
  ...plan.alonePorts.map((port) => ({ port, servers: [plan.realServers[0].back] })),
];

/** A virtual address for each contestant: no connection is taken for one of another's turn. */
export const virtualAddress = (contestant: number): string => `10.81.0.${100 + contestant}`;

/** An address of real server n that the director only routes, and whose answers go straight to the client. */
export const routedAddress = (n: number): string => `10.83.0.${1 + n}`;

/** How many virtual addresses the director has. */
const virtualAddresses = 16;
const replyTable = 82;

/**
 * A client, a director and two real servers on two plain bridges:
 *
 *     client ── front ──┬── director ── back ──┬── real servers
 *                       └──────────────────────┘
 *
 * A real server answers from its address on `back` through the director, from any other straight to the client.
 */
export function topologyOf(name: string): Topology {
  // BBR paces by a timer, which measures the timer.
  const ends = { 'net.ipv4.tcp_congestion_control': 'reno' };
  return {
    name,
    nodes: [
      {
        name: 'client',
        sysctls: { ...ends, 'net.ipv4.ip_local_port_range': '1024 65535' },
        routes: ['10.82.0.0/24', '10.83.0.0/24'].map((destination) => ({ destination, gateway: plan.front })),
      },
      {
        name: 'director',
        sysctls: { ...ends, 'net.ipv4.ip_local_port_range': '1024 65535', 'net.ipv4.ip_forward': 1 },
        routes: plan.realServers.map(({ back }, n) => ({
          destination: `${routedAddress(n)}/32`,
          gateway: back,
        })),
      },
      ...plan.realServers.map(({ name, back }, n) => ({
        name,
        loopback: [`${routedAddress(n)}/32`],
        sysctls: { ...ends, 'net.ipv4.tcp_max_tw_buckets': 16_384 },
        rules: [{ family: 'ipv4' as const, priority: 100, source: `${back}/32`, table: replyTable }],
        routes: [{ destination: 'default', gateway: plan.back, table: replyTable, device: 'back' }],
      })),
    ],
    segments: [
      {
        name: 'front-net',
        ports: [
          { node: 'client', device: 'front', addresses: [`${plan.client}/24`] },
          {
            node: 'director',
            device: 'front',
            addresses: [
              `${plan.front}/24`,
              ...Array.from({ length: virtualAddresses }, (_, n) => `${virtualAddress(n)}/32`),
            ],
          },
          ...plan.realServers.map(({ name, front }) => ({
            node: name,
            device: 'front',
            addresses: [`${front}/24`],
          })),
        ],
      },
      {
        name: 'back-net',
        ports: [
          { node: 'director', device: 'back', addresses: [`${plan.back}/24`] },
          ...plan.realServers.map(({ name, back }) => ({
            node: name,
            device: 'back',
            addresses: [`${back}/24`],
          })),
        ],
      },
    ],
  };
}
