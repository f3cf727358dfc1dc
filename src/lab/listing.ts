/** What the director says of one destination. Counts are since its addition. */
export type ListedDestination = {
  readonly address: string;
  readonly method: 'masquerade' | 'direct-routing' | 'tunnel' | 'local';
  readonly weight: number;
  readonly active: number;
  readonly inactive: number;
};

/** By `protocol address:port` (`tcp 192.0.2.1:80`). */
export type Listed = ReadonlyMap<string, { scheduler: string; destinations: readonly ListedDestination[] }>;

const methods = { Masq: 'masquerade', Route: 'direct-routing', Tunnel: 'tunnel', Local: 'local' } as const;

/** Reads `ipvsadm -L -n`; lines it does not know are passed over. */
export function readListing(text: string): Listed {
  const services = new Map<string, { scheduler: string; destinations: ListedDestination[] }>();
  let current: ListedDestination[] = [];
  for (const line of text.split('\n')) {
    // The destinations of a service of another kind are nobody's here.
    if (/^\S/.test(line)) current = [];
    const service = /^(TCP|UDP) +(\S+) (\S+)/.exec(line);
    const entry = /^ {2}-> (\S+) +(Masq|Route|Tunnel|Local) +(\d+) +(\d+) +(\d+)/.exec(line);
    if (service) {
      services.set(`${service[1]!.toLowerCase()} ${service[2]}`, {
        scheduler: service[3]!,
        destinations: current,
      });
    } else if (entry) {
      current.push({
        address: entry[1]!,
        method: methods[entry[2] as keyof typeof methods],
        weight: Number(entry[3]),
        active: Number(entry[4]),
        inactive: Number(entry[5]),
      });
    }
  }
  return services;
}

/** Totals of one destination, from `--stats`. */
export type Totals = {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

/** Reads `ipvsadm -L -n --stats --exact`, by `protocol address:port destination:port`. */
export function readTotals(text: string): ReadonlyMap<string, Totals> {
  const totals = new Map<string, Totals>();
  let service = '';
  for (const line of text.split('\n')) {
    const head = /^(TCP|UDP) +(\S+)/.exec(line);
    if (head) service = `${head[1]!.toLowerCase()} ${head[2]}`;
    const entry = /^ {2}-> (\S+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)/.exec(line);
    if (!entry) continue;
    const [connections, packetsIn, packetsOut, bytesIn, bytesOut] = entry.slice(2).map(Number) as [
      number,
      number,
      number,
      number,
      number,
    ];
    totals.set(`${service} ${entry[1]}`, { connections, packetsIn, packetsOut, bytesIn, bytesOut });
  }
  return totals;
}
