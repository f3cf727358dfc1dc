import { closeFd, isSystemError } from '../ffi.ts';
import {
  bindSocket,
  families,
  openSocket,
  receiveDatagram,
  setReceiveBuffer,
  socketTypes,
} from '../socket.ts';
import { netlinkProtocols } from './socket.ts';

/** RTMGRP_LINK (include/uapi/linux/rtnetlink.h): devices that come, go or change. */
const linkGroup = 1;
/** Of a message only counts that it came. */
const glance = Buffer.alloc(16);

/** Listens to what the kernel says about network devices, without ever waiting for it. */
export type LinkWatch = {
  /** For a poller; readable when something may have changed. */
  readonly fd: number;
  /** Whether a device of the namespace came, went or changed since the last call; 2 us when none did. */
  changed(): boolean;
  close(): void;
};

/** Listens in the network namespace of the caller. Throws SystemError. */
export function watchLinks(): LinkWatch {
  const fd = openSocket(families.netlink, socketTypes.raw, netlinkProtocols.route);
  try {
    const address = Buffer.alloc(12);
    address.writeUInt16LE(families.netlink, 0);
    address.writeUInt32LE(linkGroup, 8);
    bindSocket(fd, address);
    setReceiveBuffer(fd, 64 * 1024);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return { fd, changed: () => drain(fd), close: () => closeFd(fd) };
}

function drain(fd: number): boolean {
  for (let any = false; ; any = true) {
    try {
      if (receiveDatagram(fd, glance) === undefined) return any;
    } catch (error) {
      // The queue ran over: all the more has changed.
      if (!isSystemError(error, 'ENOBUFS')) throw error;
    }
  }
}
