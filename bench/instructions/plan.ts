/** What is sent through which director: the rows of the table and the runs of the packet generator. */

/** The wire without a director, and three directors; their numbers are in addresses and MAC addresses (guest.sh). */
export const directors = ['straight', 'routed', 'IPVS', 'headgate'] as const;
export type Director = (typeof directors)[number];

/** A row of the table: what packets go through the directors. */
export type Row = {
  readonly name: string;
  /** Last pair of the address that the client sends to through a balancer, or that replies come from. */
  readonly address: '1.101' | '1.102' | '1.103' | '2.2';
  /** All packets of one connection, each of a new one, or from the real server back. */
  readonly traffic: 'established' | 'new' | 'reply';
  /** What the receiver must see: the address it looks at and the IP protocol. */
  readonly arrives: { readonly field: 'src' | 'dst'; readonly address: string; readonly protocol: 4 | 17 };
};

const udp = 17;
const ipInIp = 4;
const masquerade = { address: '1.101', arrives: { field: 'dst', address: '2.2', protocol: udp } } as const;
const direct = { address: '1.102', arrives: { field: 'dst', address: '1.102', protocol: udp } } as const;
const tunnel = { address: '1.103', arrives: { field: 'dst', address: '2.2', protocol: ipInIp } } as const;
const elsewhere = { address: '2.2', arrives: { field: 'dst', address: '2.2', protocol: udp } } as const;

export const rows: readonly Row[] = [
  { name: 'NAT', ...masquerade, traffic: 'established' },
  {
    name: 'NAT, reply',
    address: '1.101',
    traffic: 'reply',
    arrives: { field: 'src', address: '1.101', protocol: udp },
  },
  { name: 'DR', ...direct, traffic: 'established' },
  { name: 'TUN', ...tunnel, traffic: 'established' },
  { name: 'NAT, new connection', ...masquerade, traffic: 'new' },
  { name: 'DR, new connection', ...direct, traffic: 'new' },
  { name: 'TUN, new connection', ...tunnel, traffic: 'new' },
  { name: 'not for a service', ...elsewhere, traffic: 'established' },
];

/** What a row's packets are without a balancer, or without a director: sent to the real server itself, or back from there. */
export const plainRow = ({ traffic }: Row): Row => ({
  ...elsewhere,
  name: `plain, ${traffic}`,
  traffic,
  ...(traffic === 'reply'
    ? { address: '2.2', arrives: { field: 'src', address: '2.2', protocol: udp } }
    : {}),
});

/** One start of the packet generator. */
export type Run = {
  readonly director: Director;
  readonly row: Row;
  /** 0 warms up and is not measured. */
  readonly round: number;
  readonly packets: number;
};

const atEach = (some: readonly Director[], row: Row) => some.map((director) => ({ director, row }));

/** All runs, each point's rounds in turn. A reply's warm-up is a request, as that opens the connection. */
export function planRuns(chosen: readonly Row[], packets: number, rounds: number): Run[] {
  const plain = new Map(chosen.map((row) => [row.traffic, plainRow(row)]));
  const points = [
    ...[...plain.values()].flatMap((row) => atEach(['straight', 'routed'], row)),
    ...chosen.flatMap((row) => atEach(['IPVS', 'headgate'], row)),
  ];
  const warmUpPackets = 200;
  return points.flatMap(({ director, row }) => [
    {
      director,
      row: row.name === 'NAT, reply' ? rows[0]! : row,
      round: 0,
      packets: warmUpPackets,
    },
    ...Array.from({ length: rounds }, (_, round) => ({ director, row, round: round + 1, packets })),
  ]);
}

/** Clients of new connections: each run has an address of its own, and a port for each packet. */
const firstNewClient = 10;
const lastNewClient = 100;
const [firstPort, lastPort] = [1024, 65_535];
export const mostPackets = lastPort - firstPort;

/** The runs as guest.sh reads them; the generator's settings are those of Documentation/networking/pktgen.rst. */
export function writeRuns(runs: readonly Run[]): string {
  let client = firstNewClient;
  return runs
    .map(({ director, row, round, packets }) => {
      const number = directors.indexOf(director);
      const reply = row.traffic === 'reply';
      const [wire, lan] = [`client c${number}`, `server s${number}`];
      const { field, address, protocol } = row.arrives;
      const mac = `02:00:00:00:0${number}:0${reply ? 3 : 1}`;
      if (row.traffic === 'new' && client > lastNewClient)
        throw new Error(`Planning runs: more than ${lastNewClient - firstNewClient} with new connections.`);
      const flow = reply
        ? flowOf(`10.${number}.2.2`, [80, 80], `10.${number}.1.2`, 20_000)
        : row.traffic === 'new'
          ? flowOf(`10.${number}.1.${client++}`, [firstPort, lastPort], `10.${number}.${row.address}`, 80)
          : flowOf(`10.${number}.1.2`, [20_000, 20_000], `10.${number}.${row.address}`, 80);
      const settings = [
        ...[`count ${packets}`, 'clone_skb 0', 'pkt_size 60', 'delay 0', 'flag UDPCSUM', `dst_mac ${mac}`],
        ...flow,
      ];
      return [
        `${director}: ${row.name}: ${round}`,
        reply ? lan : wire,
        reply ? wire : lan,
        `ip ${field} 10.${number}.${address} match ip protocol ${protocol} 0xff`,
        settings.join(';'),
      ].join('|');
    })
    .join('\n');
}

function flowOf(source: string, ports: readonly [number, number], destination: string, port: number) {
  return [
    ...[`src_min ${source}`, `src_max ${source}`, `udp_src_min ${ports[0]}`, `udp_src_max ${ports[1]}`],
    ...[`dst_min ${destination}`, `dst_max ${destination}`, `udp_dst_min ${port}`, `udp_dst_max ${port}`],
  ];
}

/** How many connections a director must have counted for the service at an address. */
export function expectedConnections(runs: readonly Run[], director: Director, address: string): number {
  const there = runs.filter((run) => run.director === director && run.row.address === address);
  const opened = there.filter(({ row }) => row.traffic === 'new').map(({ packets }) => packets);
  const established = there.some(({ row }) => row.traffic === 'established') ? 1 : 0;
  return opened.reduce((sum, packets) => sum + packets, established);
}
