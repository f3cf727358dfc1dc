import { readFileSync } from 'node:fs';
import { type ServiceNames, servicesFrom } from '../../config/ipvsadm/names.ts';
import { type Address, parseAddress } from '../../model/address.ts';

/** Host and service names, both directions; undefined where there is none. */
export type Names = ServiceNames & {
  /** The first IPv4 address of a host, as gethostbyname(3). */
  addressOf(host: string): Promise<Address | undefined>;
  hostOf(address: Address): Promise<string | undefined>;
};

/** The names of this machine: its resolver and /etc/services. Answers are remembered. */
export function systemNames(): Names {
  let services: ServiceNames | undefined;
  const load = (): ServiceNames => (services ??= servicesFrom(readText('/etc/services')));
  const addresses = new Map<string, Promise<Address | undefined>>();
  const hosts = new Map<Address, Promise<string | undefined>>();
  return {
    addressOf: (host) => remember(addresses, host, lookUpAddress),
    hostOf: (address) => remember(hosts, address, lookUpHost),
    portOf: (service, protocol) => load().portOf(service, protocol),
    serviceOf: (port, protocol) => load().serviceOf(port, protocol),
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
