import { errnoByName } from '../errno.ts';
import { closeFd } from '../ffi.ts';
import { bpf, bpfError, newAttributes, putAddress, tryBpf } from './call.ts';
import { readInfo } from './info.ts';
import { attachType } from './uapi.ts';

/**
 * A program attached to something. The link holds the attachment: closing the last descriptor of an unpinned link
 * detaches the program.
 */
export type LinkHandle = {
  readonly fd: number;
  info(): LinkInfo;
  /** Swaps the program without a gap; with `expectedFd` only if that program is the current one (EPERM otherwise). */
  update(programFd: number, expectedFd?: number): void;
  /** Detaches at once, also when the link is pinned or open elsewhere. */
  detach(): void;
  close(): void;
};

export type LinkInfo = {
  readonly id: number;
  readonly programId: number;
  readonly kind: 'tcx' | 'xdp' | 'netns' | 'other';
  /** Of tcx and xdp; 0 when the device is gone. */
  readonly ifindex: number;
  /** Of tcx and netns. */
  readonly attachType: number;
  /** Inode of the network namespace, of a netns link; 0 when it is gone. */
  readonly netnsInode: number;
};

/** enum bpf_link_type. */
const kindByType: Readonly<Record<number, LinkInfo['kind']>> = { 5: 'netns', 6: 'xdp', 11: 'tcx' };

/** BPF_MPROG_MAX of the kernel: so many programs fit one direction of a device. */
const mostTcxPrograms = 64;

const F_BEFORE = 1 << 3;
const F_AFTER = 1 << 4;
const F_LINK = 1 << 13;

/** A handle for a link's descriptor that is already open, e.g. from a pin. */
export function openLink(fd: number): LinkHandle {
  let open = true;
  return {
    fd,
    info: () => linkInfo(fd),
    update(programFd, expectedFd) {
      const F_REPLACE = 1 << 2;
      const attributes = newAttributes(16);
      attributes.writeInt32LE(fd, 0);
      attributes.writeInt32LE(programFd, 4);
      attributes.writeUInt32LE(expectedFd === undefined ? 0 : F_REPLACE, 8);
      attributes.writeInt32LE(expectedFd ?? 0, 12);
      bpf('LINK_UPDATE', attributes, 'swap the program of a link');
    },
    detach() {
      const attributes = newAttributes(16);
      attributes.writeInt32LE(fd, 0);
      bpf('LINK_DETACH', attributes, 'detach a link');
    },
    close() {
      if (!open) return;
      open = false;
      closeFd(fd);
    },
  };
}

/** struct bpf_link_info. */
export function linkInfo(fd: number): LinkInfo {
  const info = readInfo(fd, Buffer.alloc(64), 'read link');
  const kind = kindByType[info.readUInt32LE(0)] ?? 'other';
  const first = info.readUInt32LE(16);
  return {
    id: info.readUInt32LE(4),
    programId: info.readUInt32LE(8),
    kind,
    ifindex: kind === 'tcx' || kind === 'xdp' ? first : 0,
    attachType: kind === 'tcx' || kind === 'netns' ? info.readUInt32LE(20) : 0,
    netnsInode: kind === 'netns' ? first : 0,
  };
}

export type TcxAttachment = {
  readonly programFd: number;
  /** A device of this process's network namespace. */
  readonly ifindex: number;
  readonly direction: 'ingress' | 'egress';
  /** Where among the programs that are there; default: after all of them. */
  readonly position?: 'first' | 'last' | { readonly before: LinkHandle } | { readonly after: LinkHandle };
};

/** Attaches a tc program by a tcx link (Linux 6.6). Throws SystemError: EINVAL without tcx, ENODEV, EEXIST (same program). */
export function attachTcx(attachment: TcxAttachment): LinkHandle {
  const { position = 'last' } = attachment;
  let flags = position === 'first' ? F_BEFORE : 0;
  let relative = 0;
  if (typeof position === 'object') {
    flags = F_LINK | ('before' in position ? F_BEFORE : F_AFTER);
    relative = 'before' in position ? position.before.fd : position.after.fd;
  }
  const type = attachment.direction === 'ingress' ? attachType.TCX_INGRESS : attachType.TCX_EGRESS;
  return createLink(attachment.programFd, attachment.ifindex, type, flags, relative);
}

/**
 * The ids of the programs attached by tcx to a device of this process's network namespace, in the order they run; none
 * where the kernel has no tcx. Throws SystemError: ENODEV.
 */
export function tcxProgramIds(ifindex: number, direction: 'ingress' | 'egress'): number[] {
  const attributes = newAttributes(64);
  const ids = Buffer.alloc(4 * mostTcxPrograms);
  attributes.writeInt32LE(ifindex, 0);
  attributes.writeUInt32LE(direction === 'ingress' ? attachType.TCX_INGRESS : attachType.TCX_EGRESS, 4);
  putAddress(attributes, 16, ids);
  attributes.writeUInt32LE(mostTcxPrograms, 24);
  const result = tryBpf('PROG_QUERY', attributes, [ids]);
  if (-result === errnoByName.ENOENT || -result === errnoByName.EINVAL) return [];
  if (result < 0) throw bpfError('PROG_QUERY', -result, `list the programs of device ${ifindex}`);
  return Array.from({ length: attributes.readUInt32LE(24) }, (_, i) => ids.readUInt32LE(4 * i));
}

/** XDP modes; `generic` works on every device, `native` needs the driver, default: the driver where it can. */
const xdpModeFlags = { generic: 1 << 1, native: 1 << 2, default: 0 } as const;

/** Attaches an XDP program. Throws SystemError: EBUSY when there is one already, EOPNOTSUPP for a mode the driver lacks. */
export function attachXdp(attachment: {
  readonly programFd: number;
  readonly ifindex: number;
  readonly mode?: keyof typeof xdpModeFlags;
}): LinkHandle {
  const flags = xdpModeFlags[attachment.mode ?? 'default'];
  return createLink(attachment.programFd, attachment.ifindex, attachType.XDP, flags, 0);
}

/** Attaches an sk_lookup program to a network namespace by its descriptor (/proc/self/ns/net). */
export function attachSocketLookup(programFd: number, netnsFd: number): LinkHandle {
  return createLink(programFd, netnsFd, attachType.SK_LOOKUP, 0, 0);
}

function createLink(
  programFd: number,
  target: number,
  type: number,
  flags: number,
  relative: number,
): LinkHandle {
  const attributes = newAttributes(64);
  attributes.writeInt32LE(programFd, 0);
  attributes.writeInt32LE(target, 4);
  attributes.writeUInt32LE(type, 8);
  attributes.writeUInt32LE(flags, 12);
  attributes.writeUInt32LE(relative, 16);
  return openLink(bpf('LINK_CREATE', attributes, `attach a program to ${target}`));
}
