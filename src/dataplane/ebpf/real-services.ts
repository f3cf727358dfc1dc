import type { Address } from '../../model/address.ts';
import type { Protocol } from '../../model/virtual-service.ts';
import { encodeAddress, encodeServiceKey } from './encoding.ts';
import type { Instance } from './instance.ts';
import type { ListedService } from './listing.ts';
import { tunnelSource } from './tunnel-source.ts';

/**
 * Tells the program which packets come from masqueraded real servers (nat_icmp_send), and from which address of this host such a
 * one is answered: a mark's real servers by any protocol (ip_vs_has_real_service).
 */
export function arrangeRealServices(instance: Instance, services: Iterable<ListedService>): void {
  const map = instance.map('real_services');
  const wanted = new Map<string, Address>();
  for (const { service, destinations } of services) {
    const protocols: readonly Protocol[] =
      service.id.kind === 'address' ? [service.id.protocol] : ['tcp', 'udp', 'sctp'];
    for (const { destination } of destinations.values()) {
      if (destination.method !== 'masquerade') continue;
      const { address, port } = destination;
      for (const protocol of protocols)
        wanted.set(encodeServiceKey({ kind: 'address', protocol, address, port }).toString('hex'), address);
    }
  }
  for (const key of [...map.keys()]) if (!wanted.has(key.toString('hex'))) map.delete(key);
  const sources = new Map<Address, Address | undefined>();
  for (const [key, address] of wanted) {
    if (!sources.has(address)) sources.set(address, tunnelSource(address));
    const source = sources.get(address);
    if (source !== undefined) map.update(Buffer.from(key, 'hex'), encodeAddress(source));
  }
}
