import { familyOf, isLinkLocal } from '../model/address.ts';
import { isSystemError } from '../sys/ffi.ts';
import { addAddress, deleteAddress } from '../sys/netlink/address.ts';
import { parseMac } from '../sys/netlink/ip.ts';
import { findLink, setLink } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { type FrameSocket, openFrameSocket } from '../sys/raw.ts';
import { announcement } from './announce.ts';
import type { HeldAddress } from './settings.ts';
import type { Holder } from './virtual-mac.ts';

/** A device with a virtual MAC address has no link-local address of its own: that prefix comes with the virtual one. */
function text({ virtual }: Holder, { address, length }: HeldAddress): string {
  return `${address}/${virtual && isLinkLocal(address) && familyOf(address) === 6 ? Math.min(length, 64) : length}`;
}

/**
 * Takes addresses for `leaseSeconds`, or renews them: the kernel lets go of them when nobody does (ADR 7). Throws
 * NetlinkError.
 */
export function hold(device: Holder, addresses: readonly HeldAddress[], leaseSeconds: number): void {
  withNetlink({}, (netlink) => {
    if (device.virtual) setLink(netlink, device.index, { up: true });
    for (const one of addresses)
      addAddress(netlink, device.index, {
        prefix: text(device, one),
        validSeconds: leaseSeconds,
        noDad: true,
      });
  });
}

/** Gives addresses up; those that are not there are given up already. Throws NetlinkError. */
export function release(device: Holder, addresses: readonly HeldAddress[]): void {
  withNetlink({}, (netlink) => {
    for (const one of addresses) {
      try {
        deleteAddress(netlink, device.index, text(device, one));
      } catch (error) {
        if (!isSystemError(error, 'EADDRNOTAVAIL', 'ENODEV')) throw error;
      }
    }
    // Nobody but the master may be seen with that MAC address.
    if (device.virtual && findLink(netlink, device.index)) setLink(netlink, device.index, { up: false });
  });
}

/** Tells the network who has addresses. */
export type Announcer = {
  /** `times` over. Throws SystemError (ENETDOWN). */
  announce(device: Holder, addresses: readonly HeldAddress[], times: number): void;
  close(): void;
};

/**
 * The socket stays open from one announcement to the next: to close a packet socket the kernel waits until every processor has
 * passed by (synchronize_net), which takes seconds where somebody keeps its own threads from running.
 */
export function openAnnouncer(): Announcer {
  let open: { readonly index: number; readonly socket: FrameSocket } | undefined;
  return {
    announce({ index, mac }, addresses, times) {
      if (open?.index !== index) {
        open?.socket.close();
        open = undefined;
        open = { index, socket: openFrameSocket(index, { protocol: 0 }) };
      }
      for (let i = 0; i < times; i++)
        for (const { address } of addresses) open.socket.send(announcement(parseMac(mac), address));
    },
    close() {
      open?.socket.close();
      open = undefined;
    },
  };
}
