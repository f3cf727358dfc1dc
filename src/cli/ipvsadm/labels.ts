import type { PortProtocol } from '../../config/ipvsadm/names.ts';
import { type Address, addressFromBytes, familyOf } from '../../model/address.ts';
import type { DestinationId, VirtualService } from '../../model/virtual-service.ts';
import type { Names } from './names.ts';

/** ipvsadm keeps `address:port` in a buffer of 60 bytes. */
const longestLabel = 59;

/** Shows `address:port`, by numbers or by names; IPv6 in brackets. */
export type Label = (endpoint: DestinationId, protocol: PortProtocol) => Promise<string>;

/** How endpoints are shown: names are looked up (hosts first, then services) unless `numeric`. */
export function labels(numeric: boolean, names: Names): Label {
  return async ({ address, port }, protocol) => {
    const host = numeric ? address : ((await names.hostOf(address)) ?? address);
    const service = (numeric ? undefined : names.serviceOf(port, protocol)) ?? String(port);
    const shown = familyOf(address) === 6 ? `[${host}]:${service}` : `${host}:${service}`;
    return shown.slice(0, longestLabel);
  };
}

/** Protocol of the ports of a service's destinations: a mark's service has none. */
export const portProtocol = ({ id }: VirtualService): PortProtocol =>
  id.kind === 'address' ? id.protocol : 'ip';

/** The persistence mask as ipvsadm shows it where it is not the default: dotted quad, or an IPv6 prefix length. */
export function maskText({ id, persistence }: VirtualService): string | undefined {
  if (!persistence) return undefined;
  const { netmask } = persistence;
  const family = id.kind === 'address' ? familyOf(id.address) : id.family;
  if (family === 6) return netmask === 128 ? undefined : String(netmask);
  return netmask === 0xffffffff ? undefined : dottedQuad(netmask);
}

const dottedQuad = (mask: number): Address =>
  addressFromBytes(Uint8Array.of(mask >>> 24, mask >>> 16, mask >>> 8, mask));

/** The scheduler flags as words; `sh` and `mh` have names for the first two. */
export function flagWords({ scheduler, schedulerFlags: flags }: VirtualService): readonly string[] {
  const named = scheduler === 'sh' || scheduler === 'mh';
  const words = named
    ? [`${scheduler}-fallback`, `${scheduler}-port`, 'flag-3']
    : ['flag-1', 'flag-2', 'flag-3'];
  const set = [flags.flag1, flags.flag2, flags.flag3];
  return words.filter((_, index) => set[index]);
}
