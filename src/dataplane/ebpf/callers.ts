import { encodeServiceKey } from './encoding.ts';
import type { Instance } from './instance.ts';
import type { ListedService } from './listing.ts';

/**
 * Tells the program which masqueraded real servers belong to services with the persistence engine sip, whose own messages open
 * connections: where the service has an address, and both a port (ip_vs_new_conn_out).
 */
export function arrangeCallers(instance: Instance, services: Iterable<ListedService>): void {
  const map = instance.map('callers');
  const wanted = new Map<string, number>();
  for (const { service, destinations } of services) {
    const { id, persistence } = service;
    if (persistence?.engine === undefined || id.kind !== 'address') continue;
    if (id.protocol !== 'udp' || id.port === 0) continue;
    for (const { slot, destination } of destinations.values()) {
      const { method, address, port } = destination;
      if (method !== 'masquerade' || port === 0) continue;
      wanted.set(encodeServiceKey({ kind: 'address', protocol: 'udp', address, port }).toString('hex'), slot);
    }
  }
  for (const key of [...map.keys()]) if (!wanted.has(key.toString('hex'))) map.delete(key);
  for (const [key, slot] of wanted) {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(slot);
    map.update(Buffer.from(key, 'hex'), value);
  }
  instance.settings.set(0, 'callers', wanted.size > 0 ? 1 : 0);
}
