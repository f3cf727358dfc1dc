import { familyOf, parseAddress } from '../../model/address.ts';
import { type KnownNames, type ServiceNames, servicesFrom } from '../ipvsadm/names.ts';
import { wellKnownPort } from './service-names.ts';

/**
 * The names in /etc/hosts and /etc/services, where these can be read. Name servers are not asked: what a configuration
 * means must not depend on who answers.
 */
export function machineNames(read: (path: string) => Uint8Array): KnownNames {
  let services: ServiceNames | undefined;
  let hosts: ReadonlyMap<string, ReturnType<typeof parseAddress>> | undefined;
  return {
    portOf: (service, protocol) => {
      services ??= servicesFrom(textOf('/etc/services', read));
      return services.portOf(service, protocol) ?? wellKnownPort(service);
    },
    addressOf: (host) => {
      hosts ??= hostsFrom(textOf('/etc/hosts', read));
      return hosts.get(host.toLowerCase());
    },
  };
}

/** The first IPv4 address of each name in text in the form of hosts(5). */
function hostsFrom(text: string): Map<string, ReturnType<typeof parseAddress>> {
  const hosts = new Map<string, ReturnType<typeof parseAddress>>();
  for (const line of text.split('\n')) {
    const [address = '', ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const parsed = parseAddress(address);
    if (parsed === undefined || familyOf(parsed) !== 4) continue;
    for (const name of names) if (!hosts.has(name.toLowerCase())) hosts.set(name.toLowerCase(), parsed);
  }
  return hosts;
}

function textOf(path: string, read: (path: string) => Uint8Array): string {
  try {
    return new TextDecoder().decode(read(path));
  } catch {
    return '';
  }
}
