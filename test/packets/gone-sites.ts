import { expect } from 'vitest';
import { readServiceId } from '../../src/dataplane/ebpf/encoding.ts';
import type { Destination, ForwardingMethod, WhenGone } from '../../src/model/virtual-service.ts';
import { encode, type Packet, udp } from './frame.ts';
import type { Harness } from './harness.ts';
import { destination, serviceId, virtualService } from './services.ts';

type Family = 4 | 6;
export const vips = { 4: '198.51.100.10', 6: '[2001:db8:100::10]' } as const;
export const clients = { 4: '203.0.113.5', 6: '[2001:db8:c::5]' } as const;
export const reals = { 4: ['10.1.0.11', '10.1.0.12'], 6: ['[fd10::11]', '[fd10::12]'] } as const;

/** The first or the second real server of a service at a port. */
export const member = (family: Family, n: 0 | 1, at: number, method: ForwardingMethod): Destination => ({
  ...destination(`${reals[family][n]}:${method === 'masquerade' ? 8080 : at}`, method),
  ...(method === 'tunnel' && { tunnel: { type: 'ipip', port: 0, checksum: 'none' } }),
});

/** Services whose destination goes away, each with a client of its own. */
export function sitesIn(harness: () => Harness) {
  let port = 20_000;
  return { site, entriesOf, isForwarded, nextPort: () => ++port };

  /** A service whose only destination serves a client; `replace` deletes it and puts another in its place. */
  async function site(
    protocol: 'tcp' | 'udp',
    family: Family,
    whenGone: WhenGone | undefined,
    method: ForwardingMethod = 'masquerade',
  ) {
    const at = ++port;
    const vip = `${vips[family]}:${at}`;
    const client = `${clients[family]}:${++port}`;
    const id = serviceId(`${protocol} ${vip}`);
    const service = { ...virtualService(`${protocol} ${vip}`), ...(whenGone && { whenGone }) };
    const [first, second] = [member(family, 0, at, method), member(family, 1, at, method)];
    const placeOf = (n: 0 | 1) => `${reals[family][n]}:${[first, second][n]!.port}`;
    /** What a packet to the virtual address is when it reaches a real server, without outer headers. */
    const arriving = (n: 0 | 1) => (method === 'masquerade' ? placeOf(n) : vip);
    await harness().apply(
      { kind: 'add-service', service },
      { kind: 'add-destination', id, destination: first },
    );
    const slot = harness().instance.settings.get(0, 'destination_slots');
    return {
      id,
      service,
      vip,
      client,
      placeOf,
      arriving,
      slot,
      remove: () => harness().apply({ kind: 'delete-destination', id, destination: first }),
      replace: () =>
        harness().apply(
          { kind: 'add-destination', id, destination: second },
          { kind: 'delete-destination', id, destination: first },
        ),
      revive: () => harness().apply({ kind: 'add-destination', id, destination: first }),
      counted: () => slotsOf(reals[family][0]).reduce(([a, i], one) => [a + one[0], i + one[1]], [0, 0]),
      countedAtOther: () =>
        slotsOf(reals[family][1]).reduce(([a, i], one) => [a + one[0], i + one[1]], [0, 0]),
    };

    /** Active and inactive of every record of the service with this address, listed or deleted. */
    function slotsOf(address: string): [number, number][] {
      const found: [number, number][] = [];
      const wanted = Buffer.from(encode(udp(`${address}:1`, `${address}:1`)));
      const bytes = family === 4 ? wanted.subarray(12, 16) : wanted.subarray(8, 24);
      const { destinations } = harness();
      for (let one = 1; one <= harness().instance.settings.get(0, 'destination_slots'); one++) {
        const own = Buffer.from(destinations.address(one, 'address')).subarray(family === 4 ? 12 : 0);
        if (!own.equals(bytes)) continue;
        const services = harness().services;
        const theirs = readServiceId(services, destinations.get(one, 'service'));
        if (theirs.kind !== 'address' || theirs.port !== at || theirs.protocol !== protocol) continue;
        found.push([destinations.get(one, 'active'), destinations.get(one, 'inactive')]);
      }
      return found;
    }
  }

  /** Entries of a client, known by its port. */
  async function entriesOf(client: string) {
    return (await harness().connections()).filter(
      (one) => `${one.client.port}` === client.replace(/.*:/, ''),
    );
  }

  function isForwarded(packet: Packet, arrives: Packet): void {
    const outcome = harness().receive('c0', packet);
    expect(outcome.verdict).toBe('redirect');
    expect(outcome.bytes.subarray(14).toString('hex')).toBe(encode(arrives).toString('hex'));
  }
}
