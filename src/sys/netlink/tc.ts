import { decodeAttributes, decodeText, messageFlags, nested, text, u32 } from './message.ts';
import type { Netlink } from './socket.ts';

/**
 * The clsact qdisc and its BPF filters (include/uapi/linux/pkt_sched.h, pkt_cls.h): the attachment for kernels without
 * tcx links. Every function throws NetlinkError.
 */

const newQdisc = 36;
const deleteQdisc = 37;
const getQdisc = 38;
const newFilter = 44;
const deleteFilter = 45;
const getFilter = 46;

const kindAttribute = 1;
const optionsAttribute = 2;
const bpfAttributes = { fd: 6, name: 7, flags: 8, id: 11 } as const;
const directAction = 1;
const clsactParent = 0xfffffff1;
const clsactHandle = 0xffff0000;
const filterParents = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
/** htons(ETH_P_ALL), as tcm_info carries it. */
const allProtocols = 0x0300;

export type TcDirection = keyof typeof filterParents;

/** A BPF filter on a device. */
export type BpfFilter = {
  readonly index: number;
  readonly direction: TcDirection;
  readonly handle: number;
  readonly priority: number;
  readonly name?: string;
  readonly programId?: number;
  readonly directAction: boolean;
};

function tcmsg(index: number, handle: number, parent: number, info = 0): Buffer {
  const buffer = Buffer.alloc(20);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(handle >>> 0, 8);
  buffer.writeUInt32LE(parent >>> 0, 12);
  buffer.writeUInt32LE(info >>> 0, 16);
  return buffer;
}

const filterInfo = (priority: number): number => ((priority << 16) | allProtocols) >>> 0;

/** Whether the device has a clsact qdisc. */
export function hasClsact(netlink: Netlink, index: number): boolean {
  return netlink.dump('list qdiscs', getQdisc, [tcmsg(index, 0, 0)]).some(({ payload }) => {
    const kind = decodeAttributes(payload, 20).get(kindAttribute);
    return payload.readInt32LE(4) === index && kind !== undefined && decodeText(kind) === 'clsact';
  });
}

/** Adds the clsact qdisc; a device that has one keeps it, with its filters. */
export function addClsact(netlink: Netlink, index: number): void {
  if (hasClsact(netlink, index)) return;
  netlink.request(
    `add clsact to interface ${index}`,
    newQdisc,
    messageFlags.create | messageFlags.exclusive,
    [tcmsg(index, clsactHandle, clsactParent), text(kindAttribute, 'clsact')],
  );
}

/** Deletes the clsact qdisc with every filter on it, also other programs'. */
export function deleteClsact(netlink: Netlink, index: number): void {
  netlink.request(`delete clsact from interface ${index}`, deleteQdisc, 0, [
    tcmsg(index, clsactHandle, clsactParent),
    text(kindAttribute, 'clsact'),
  ]);
}

export type FilterPlace = {
  readonly index: number;
  readonly direction: TcDirection;
  /** Lower runs first, 1 to 65535. */
  readonly priority: number;
  readonly handle: number;
};

/**
 * Attaches a loaded program (`programFd`, BPF_PROG_TYPE_SCHED_CLS) in direct-action mode. A filter with the same
 * handle and priority is replaced in one step: every packet meets the old program or the new one.
 */
export function attachBpfFilter(
  netlink: Netlink,
  filter: FilterPlace & { readonly programFd: number; readonly name: string },
): void {
  netlink.request(
    `attach BPF filter "${filter.name}" to ${filter.direction} of interface ${filter.index}`,
    newFilter,
    messageFlags.create,
    [
      tcmsg(filter.index, filter.handle, filterParents[filter.direction], filterInfo(filter.priority)),
      text(kindAttribute, 'bpf'),
      nested(optionsAttribute, [
        u32(bpfAttributes.fd, filter.programFd),
        text(bpfAttributes.name, filter.name),
        u32(bpfAttributes.flags, directAction),
      ]),
    ],
  );
}

/** Takes a filter off. Throws NetlinkError, ENOENT where there is none. */
export function deleteBpfFilter(netlink: Netlink, place: FilterPlace): void {
  netlink.request(`delete BPF filter from ${place.direction} of interface ${place.index}`, deleteFilter, 0, [
    tcmsg(place.index, place.handle, filterParents[place.direction], filterInfo(place.priority)),
    text(kindAttribute, 'bpf'),
  ]);
}

/** The BPF filters of one direction of a device, in the order the kernel runs them. */
export function listBpfFilters(netlink: Netlink, index: number, direction: TcDirection): BpfFilter[] {
  const filters: BpfFilter[] = [];
  for (const { payload } of netlink.dump('list filters', getFilter, [
    tcmsg(index, 0, filterParents[direction]),
  ])) {
    const attributes = decodeAttributes(payload, 20);
    const kind = attributes.get(kindAttribute);
    const options = attributes.get(optionsAttribute);
    const handle = payload.readUInt32LE(8);
    if (!kind || decodeText(kind) !== 'bpf' || !options || handle === 0) continue;
    const bpf = decodeAttributes(options);
    const name = bpf.get(bpfAttributes.name);
    const id = bpf.get(bpfAttributes.id)?.readUInt32LE(0);
    filters.push({
      index: payload.readInt32LE(4),
      direction,
      handle,
      priority: payload.readUInt32LE(16) >>> 16,
      directAction: ((bpf.get(bpfAttributes.flags)?.readUInt32LE(0) ?? 0) & directAction) !== 0,
      ...(name ? { name: decodeText(name) } : {}),
      ...(id === undefined ? {} : { programId: id }),
    });
  }
  return filters;
}
