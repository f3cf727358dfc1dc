import { readFileSync } from 'node:fs';
import { type Address, parseAddress } from '../../model/address.ts';

/** The protocol a port belongs to; `ip` ports have no service names. */
export type PortProtocol = 'tcp' | 'udp' | 'sctp' | 'ip';

/** Host and service names, both directions; undefined where there is none. */
export type Names = {
  /** The first IPv4 address of a host, as gethostbyname(3). */
  addressOf(host: string): Promise<Address | undefined>;
  hostOf(address: Address): Promise<string | undefined>;
  portOf(service: string, protocol: PortProtocol): number | undefined;
  serviceOf(port: number, protocol: PortProtocol): string | undefined;
};

type Services = Pick<Names, 'portOf' | 'serviceOf'>;

/** The names of this machine: its resolver and /etc/services. Answers are remembered. */
export function systemNames(): Names {
  let services: Services | undefined;
  const load = (): Services => (services ??= servicesFrom(readText('/etc/services')));
  const addresses = new Map<string, Promise<Address | undefined>>();
  const hosts = new Map<Address, Promise<string | undefined>>();
  return {
    addressOf: (host) => remember(addresses, host, lookUpAddress),
    hostOf: (address) => remember(hosts, address, lookUpHost),
    portOf: (service, protocol) => load().portOf(service, protocol),
    serviceOf: (port, protocol) => load().serviceOf(port, protocol),
  };
}

/** Service names from text in the form of services(5). */
export function servicesFrom(text: string): Services {
  const ports = new Map<string, number>();
  const names = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [name, port, ...aliases] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const [number, protocol] = (port ?? '').split('/');
    if (!name || !number || !protocol) continue;
    for (const known of [name, ...aliases])
      if (!ports.has(`${known}/${protocol}`)) ports.set(`${known}/${protocol}`, Number(number));
    if (!names.has(`${number}/${protocol}`)) names.set(`${number}/${protocol}`, name);
  }
  return {
    portOf: (service, protocol) => ports.get(`${service}/${protocol}`),
    serviceOf: (port, protocol) => names.get(`${port}/${protocol}`),
  };
}

function remember<Key, Value>(
  cache: Map<Key, Promise<Value>>,
  key: Key,
  find: (key: Key) => Promise<Value>,
): Promise<Value> {
  const known = cache.get(key) ?? find(key);
  cache.set(key, known);
  return known;
}

// The resolver is loaded only when a name is met: numeric commands start faster without it.
async function lookUpAddress(host: string): Promise<Address | undefined> {
  if (host === '') return undefined;
  const { lookup } = await import('node:dns/promises');
  return lookup(host, { family: 4 }).then(
    (found) => parseAddress(found.address),
    () => undefined,
  );
}

async function lookUpHost(address: Address): Promise<string | undefined> {
  const { lookupService } = await import('node:dns/promises');
  return lookupService(address, 0).then(
    (found) => found.hostname,
    () => undefined,
  );
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
