import type { Cluster, ClusterLink, ClusterNode, ClusterRealServer } from './cluster.ts';

/** The clusters that come with Headgate, named for what they show. Each is one network, but for the two of masquerading. */
export const builtInClusters: readonly Cluster[] = [
  {
    name: 'dr-ipvsadm',
    summary: 'Direct routing set up by hand: one director, telnet and http, two real servers',
    nodes: nodes('client', 'director', ['rs1', 'rs2']),
    links: [
      lan('192.168.7', 24, [
        ['client', 254],
        ['director', 9],
        ['rs1', 11],
        ['rs2', 12],
      ]),
    ],
    services: ([23, 80] as const).map((port) => ({
      protocol: 'tcp' as const,
      address: '192.168.7.110',
      port,
      scheduler: 'rr' as const,
      method: 'direct-routing' as const,
      serves: port === 80 ? ('http' as const) : ('greeting' as const),
      realServers: servers('192.168.7', { rs1: 11, rs2: 12 }),
    })),
  },
  {
    name: 'tun-heartbeat',
    summary: 'Tunnels to five real servers, two of them the directors themselves',
    nodes: [
      { name: 'client', role: 'client' },
      { name: 'loadbalancer', role: 'director' },
      { name: 'backup', role: 'director' },
      ...['rs1', 'rs2', 'rs3'].map((name): ClusterNode => ({ name, role: 'real-server' })),
    ],
    links: [
      lan('192.168.136', 24, [
        ['client', 1],
        ['loadbalancer', 11],
        ['backup', 12],
        ['rs1', 101],
        ['rs2', 102],
        ['rs3', 103],
      ]),
    ],
    services: [
      {
        protocol: 'tcp',
        address: '192.168.136.10',
        port: 80,
        scheduler: 'rr',
        method: 'tunnel',
        serves: 'http',
        realServers: servers('192.168.136', { loadbalancer: 11, backup: 12, rs1: 101, rs2: 102, rs3: 103 }),
      },
    ],
  },
  {
    name: 'dr-keepalived',
    summary: 'Direct routing behind a pair of directors: master and backup, two web servers',
    nodes: [
      { name: 'client', role: 'client' },
      { name: 'master', role: 'director' },
      { name: 'backup', role: 'director' },
      { name: 'web1', role: 'real-server' },
      { name: 'web2', role: 'real-server' },
    ],
    links: [
      lan('192.168.200', 24, [
        ['client', 1],
        ['master', 101],
        ['backup', 102],
        ['web1', 103],
        ['web2', 104],
      ]),
    ],
    services: [
      {
        protocol: 'tcp',
        address: '192.168.200.254',
        port: 80,
        scheduler: 'rr',
        method: 'direct-routing',
        serves: 'http',
        realServers: servers('192.168.200', { web1: 103, web2: 104 }),
      },
    ],
  },
  {
    name: 'nat',
    summary: 'Masquerading: four real servers on a private network, their way out is the director',
    nodes: [
      { name: 'client', role: 'client' },
      { name: 'director', role: 'director' },
      ...['rs1', 'rs2', 'rs3', 'rs4'].map(
        (name): ClusterNode => ({ name, role: 'real-server', gateway: '192.168.7.1' }),
      ),
    ],
    links: [
      {
        name: 'front',
        ports: [
          { node: 'client', addresses: ['172.16.16.1/24'] },
          { node: 'director', addresses: ['172.16.16.172/24'] },
        ],
      },
      {
        ...lan('192.168.7', 24, [
          ['director', 1],
          ['rs1', 21],
          ['rs2', 22],
          ['rs3', 23],
          ['rs4', 24],
        ]),
        name: 'back',
      },
    ],
    services: [
      {
        protocol: 'tcp',
        address: '172.16.16.172',
        port: 80,
        scheduler: 'rr',
        method: 'masquerade',
        serves: 'http',
        realServers: servers('192.168.7', { rs1: 21, rs2: 22, rs3: 23, rs4: 24 }),
      },
    ],
  },
  {
    name: 'nat-pair',
    summary:
      'Masquerading behind a pair of directors: the gateway of the real servers moves with the virtual address',
    nodes: [
      { name: 'client', role: 'client' },
      { name: 'director1', role: 'director' },
      { name: 'director2', role: 'director' },
      ...['rs1', 'rs2'].map((name): ClusterNode => ({ name, role: 'real-server', gateway: '192.168.7.1' })),
    ],
    links: [
      {
        ...lan('172.16.16', 24, [
          ['client', 1],
          ['director1', 2],
          ['director2', 3],
        ]),
        name: 'front',
      },
      {
        ...lan('192.168.7', 24, [
          ['director1', 2],
          ['director2', 3],
          ['rs1', 21],
          ['rs2', 22],
        ]),
        name: 'back',
      },
    ],
    services: [
      {
        protocol: 'tcp',
        address: '172.16.16.172',
        port: 80,
        scheduler: 'rr',
        method: 'masquerade',
        serves: 'http',
        realServers: servers('192.168.7', { rs1: 21, rs2: 22 }),
      },
    ],
  },
  {
    name: 'dr-web-ftp',
    summary: 'Direct routing by least connections: web and ftp, two real servers',
    nodes: nodes('client', 'director', ['rs1', 'rs2']),
    links: [
      lan('192.168.2', 24, [
        ['client', 100],
        ['director', 1],
        ['rs1', 2],
        ['rs2', 3],
      ]),
    ],
    services: ([80, 21] as const).map((port) => ({
      protocol: 'tcp' as const,
      address: '192.168.2.254',
      port,
      scheduler: 'wlc' as const,
      method: 'direct-routing' as const,
      serves: port === 80 ? ('http' as const) : ('greeting' as const),
      realServers: servers('192.168.2', { rs1: 2, rs2: 3 }),
    })),
  },
];

function nodes(client: string, director: string, realServers: readonly string[]): ClusterNode[] {
  return [
    { name: client, role: 'client' },
    { name: director, role: 'director' },
    ...realServers.map((name): ClusterNode => ({ name, role: 'real-server' })),
  ];
}

/** One network of three bytes' prefix; each node with the last byte of its address. */
function lan(network: string, length: number, members: readonly (readonly [string, number])[]): ClusterLink {
  return {
    name: 'lan',
    ports: members.map(([node, last]) => ({ node, addresses: [`${network}.${last}/${length}`] })),
  };
}

function servers(network: string, members: Readonly<Record<string, number>>): ClusterRealServer[] {
  return Object.entries(members).map(([node, last]) => ({ node, address: `${network}.${last}` }));
}
