import { type Address, familyOf, parseAddress } from '../../model/address.ts';
import { type InterfaceAddress, listAddresses, scopes } from '../../sys/netlink/address.ts';
import { parseIp } from '../../sys/netlink/ip.ts';
import { lookupRoute } from '../../sys/netlink/route.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';

/**
 * The source for packets that carry others to `target`; undefined when there is no way to it. For IPv4 the one the route
 * prefers, as IPVS takes it. For IPv6 the kernel's choice can fall on a virtual address of this host (RFC 6724 rule 8: the
 * longest matching prefix, and /128 is long), which a real server that has that address too rightly refuses; so one of
 * the outgoing interface's addresses with a network is taken, that of the target's or the gateway's first.
 */
export function tunnelSource(target: Address): Address | undefined {
  return withNetlink({}, (netlink) => {
    const route = lookupRoute(netlink, target);
    if (!route) return undefined;
    if (familyOf(target) === 4 || route.index === undefined) return parseAddress(route.source ?? '');
    const candidates = listAddresses(netlink, route.index).filter(
      ({ family, scope, prefixLength }) => family === 'ipv6' && scope === scopes.global && prefixLength < 128,
    );
    const next = route.gateway ?? target;
    const best = candidates.find((one) => isOnNetwork(one, next)) ?? candidates[0];
    return parseAddress(best?.address ?? route.source ?? '');
  });
}

function isOnNetwork({ address, prefixLength }: InterfaceAddress, target: string): boolean {
  const bits = (text: string) =>
    BigInt(`0x${parseIp(text).bytes.toString('hex')}`) >> BigInt(128 - prefixLength);
  return bits(address) === bits(target);
}
