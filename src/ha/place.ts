import { type Address, familyOf, isLinkLocal, parseAddress } from '../model/address.ts';
import type { InterfaceAddress } from '../sys/netlink/address.ts';
import { interfaceFlags, type Link } from '../sys/netlink/link.ts';
import type { Device, Exchange } from './exchange.ts';
import type { InstanceSettings } from './settings.ts';
import type { Holder } from './virtual-mac.ts';

/** The device an instance is on. */
export type Seat = { readonly device: Device & { readonly mac: string }; readonly source: Address };

/**
 * Where an instance stands in the network, or why it stands nowhere. Its addresses are on `device`, which is `base` or, with a
 * virtual MAC address, one above it.
 */
export type Place =
  | {
      readonly base: Seat['device'];
      readonly device: Holder;
      readonly source: Address;
      readonly exchange: Exchange;
    }
  | { readonly fault: string };

/** Where an instance would stand, as the kernel lists devices and addresses. Pure. */
export function seatOf(
  { interface: name, source, addresses, excludedAddresses, peers }: InstanceSettings,
  links: readonly Link[],
  found: readonly InterfaceAddress[],
): Seat | { readonly fault: string } {
  const link = links.find((one) => one.name === name);
  const { fault } = faultOf(name, links);
  if (!link || fault !== undefined) return { fault: `interface ${name}: ${fault}` };
  const device = { name, index: link.index, mac: link.mac };
  const family = familyOf(addresses[0]!.address);
  const own = new Set([...addresses, ...excludedAddresses].map(({ address }) => address));
  const usable = found
    .filter(({ index, tentative, duplicate }) => index === link.index && !tentative && !duplicate)
    .flatMap(({ address }) => parseAddress(address) ?? [])
    // RFC 9568, 5.1.2.1: IPv6 advertisements come from the link-local address; peers may be further away.
    .filter((one) => familyOf(one) === family && (family === 4 || peers.length > 0 || isLinkLocal(one)))
    .filter((one) => !own.has(one));
  if (source !== undefined)
    return usable.includes(source)
      ? { device, source }
      : { fault: `interface ${name} does not have ${source}, which advertisements shall come from` };
  const first = usable[0];
  return first === undefined
    ? { fault: `interface ${name} has no IPv${family} address that advertisements could come from` }
    : { device, source: first };
}

/** Why an interface does not carry packets; empty where it does. Pure. */
export function faultOf(name: string, links: readonly Link[]): { readonly fault?: string } {
  const link = links.find((one) => one.name === name);
  if (!link) return { fault: 'there is none of this name' };
  if (!link.up) return { fault: 'down' };
  return (link.flags & interfaceFlags.lowerUp) === 0 ? { fault: 'no carrier' } : {};
}
