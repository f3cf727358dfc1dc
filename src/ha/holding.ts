import { isSystemError } from '../sys/ffi.ts';
import { addAddress, deleteAddress } from '../sys/netlink/address.ts';
import { parseMac } from '../sys/netlink/ip.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { openFrameSocket } from '../sys/raw.ts';
import { announcement } from './announce.ts';
import type { Device } from './exchange.ts';
import type { HeldAddress } from './settings.ts';

const text = ({ address, length }: HeldAddress): string => `${address}/${length}`;

/**
 * Takes addresses for `leaseSeconds`, or renews them: the kernel lets go of them when nobody does (ADR 7). Throws
 * NetlinkError.
 */
export function hold(device: Device, addresses: readonly HeldAddress[], leaseSeconds: number): void {
  withNetlink({}, (netlink) => {
    for (const one of addresses)
      addAddress(netlink, device.index, { prefix: text(one), validSeconds: leaseSeconds, noDad: true });
  });
}

/** Gives addresses up; those that are not there are given up already. Throws NetlinkError. */
export function release(device: Device, addresses: readonly HeldAddress[]): void {
  withNetlink({}, (netlink) => {
    for (const one of addresses) {
      try {
        deleteAddress(netlink, device.index, text(one));
      } catch (error) {
        if (!isSystemError(error, 'EADDRNOTAVAIL', 'ENODEV')) throw error;
      }
    }
  });
}

/** Tells the network `times` over who has the addresses. Throws SystemError (ENETDOWN). */
export function announce(
  device: Device & { readonly mac: string },
  addresses: readonly HeldAddress[],
  times: number,
): void {
  const socket = openFrameSocket(device.index, { protocol: 0 });
  try {
    for (let i = 0; i < times; i++)
      for (const { address } of addresses) socket.send(announcement(parseMac(device.mac), address));
  } finally {
    socket.close();
  }
}
