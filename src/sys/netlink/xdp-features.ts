import { decodeAttributes, text, u32 } from './message.ts';
import { type Netlink, netlinkProtocols, withNetlink } from './socket.ts';

/** What the kernel says of devices and XDP: the generic netlink family `netdev` (include/uapi/linux/netdev.h, Linux 6.3). */

/** GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID and _NAME (include/uapi/linux/genetlink.h). */
const control = { type: 16, getFamily: 3, familyId: 1, familyName: 2 } as const;
const device = { get: 1, ifindex: 1, xdpFeatures: 3 } as const;

const features = { basic: 1n, redirect: 2n, transmit: 4n } as const;

export type XdpFeatures = {
  /** The driver runs XDP programs. */
  readonly basic: boolean;
  /** Frames received elsewhere can be redirected to the device as it is now (ndo_xdp_xmit). */
  readonly transmit: boolean;
};

/** struct genlmsghdr. */
const header = (command: number): Buffer => Buffer.from([command, 1, 0, 0]);

/** What a device of the caller's namespace can do; undefined where the kernel does not tell. Throws NetlinkError. */
export function xdpFeatures(ifindex: number): XdpFeatures | undefined {
  return withNetlink({ protocol: netlinkProtocols.generic }, (netlink) => {
    const family = findFamily(netlink, 'netdev');
    if (family === undefined) return undefined;
    const [answer] = netlink.tryRequest(family, 0, [header(device.get), u32(device.ifindex, ifindex)]);
    const bits = answer && decodeAttributes(answer.payload, 4).get(device.xdpFeatures)?.readBigUInt64LE();
    if (bits === undefined) return undefined;
    return { basic: (bits & features.basic) !== 0n, transmit: (bits & features.transmit) !== 0n };
  });
}

function findFamily(netlink: Netlink, name: string): number | undefined {
  const [answer] = netlink.tryRequest(control.type, 0, [
    header(control.getFamily),
    text(control.familyName, name),
  ]);
  return answer && decodeAttributes(answer.payload, 4).get(control.familyId)?.readUInt16LE();
}
