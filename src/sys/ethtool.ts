import { addressOf, closeFd, ioctl } from './ffi.ts';
import { families, openSocket, socketTypes } from './socket.ts';

/** Offloads of a device of the caller's network namespace (ioctl SIOCETHTOOL, include/uapi/linux/ethtool.h). */

const siocEthtool = 0x8946;
const commands = {
  rxChecksum: { get: 0x14, set: 0x15 },
  txChecksum: { get: 0x16, set: 0x17 },
  scatterGather: { get: 0x18, set: 0x19 },
  tso: { get: 0x1e, set: 0x1f },
  gso: { get: 0x23, set: 0x24 },
  gro: { get: 0x2b, set: 0x2c },
} as const;

/** By the kernel's classic names; `tso` is every TCP segmentation but AccECN's (Linux 6.18), which has no such call. */
export type Offload = keyof typeof commands;
export type Offloads = Readonly<Record<Offload, boolean>>;
const names = Object.keys(commands) as Offload[];

/** Which offloads are on. Throws SystemError: ENODEV for no such device, EOPNOTSUPP for a driver without them. */
export function readOffloads(device: string): Offloads {
  return withDevice(device, (value) =>
    Object.fromEntries(names.map((name) => [name, value(commands[name].get, 0) !== 0])),
  ) as Offloads;
}

const getFlags = 0x25;
const lroFlag = 1 << 15;

/** Whether the device joins received packets beyond what can be taken apart again (ETH_FLAG_LRO). Throws as above. */
export function readLargeReceive(device: string): boolean {
  return withDevice(device, (value) => (value(getFlags, 0) & lroFlag) !== 0);
}

/**
 * Switches offloads; those not named stay. The kernel switches off what depends on another one (tso and gso on
 * checksums). Throws SystemError: EOPNOTSUPP where the driver cannot.
 */
export function setOffloads(device: string, offloads: Partial<Offloads>): void {
  withDevice(device, (value) => {
    for (const name of names) {
      const on = offloads[name];
      if (on !== undefined) value(commands[name].set, on ? 1 : 0);
    }
  });
}

/** Hands `work` a function that makes one ethtool call with a `struct ethtool_value` and returns its data. */
function withDevice<T>(device: string, work: (value: (command: number, data: number) => number) => T): T {
  const fd = openSocket(families.inet, socketTypes.datagram, 0);
  const request = Buffer.alloc(40);
  request.write(device.slice(0, 15), 0);
  const data = Buffer.alloc(8);
  request.writeBigUInt64LE(BigInt(addressOf(data)), 16);
  try {
    return work((command, value) => {
      data.writeUInt32LE(command, 0);
      data.writeUInt32LE(value, 4);
      ioctl(fd, siocEthtool, request, `ethtool ${command} on "${device}"`);
      return data.readUInt32LE(4);
    });
  } finally {
    closeFd(fd);
  }
}
