import { readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { attachXdp, openLink } from '../../sys/bpf/link.ts';
import { openPinned, pin } from '../../sys/bpf/pin.ts';
import { pageBytes, SystemError } from '../../sys/ffi.ts';
import { parseMac } from '../../sys/netlink/ip.ts';
import { arpTypes, type Link, listLinks } from '../../sys/netlink/link.ts';
import { withNetlink } from '../../sys/netlink/socket.ts';
import { xdpFeatures } from '../../sys/netlink/xdp-features.ts';
import { isAlive, isPort } from './attach.ts';
import { addProgram } from './create.ts';
import { fastPathFile, fastPathProgram, type Instance } from './instance.ts';

/**
 * The fast path at XDP, on the interfaces somebody named. What stands there is written in the pins: one link for each
 * interface, `link_INDEX_native` or `link_INDEX_generic`.
 */

/** An interface that is to run it, in its driver or, for trying it out, in the kernel. */
export type FastPathWish = { readonly name: string; readonly mode: FastPathMode };
export type FastPathMode = 'native' | 'generic';

/** An interface that runs it. */
type Attached = { readonly path: string; readonly index: number; readonly mode: FastPathMode };

/** What of a page a driver needs beside the packet: head room, frame header, the buffer's own record. */
const pageOverheadBytes = 500;

/** The links an instance has pinned. */
function pinnedFastPaths(directory: string): Attached[] {
  return readdirSync(directory).flatMap((name) => {
    const match = fastPathFile.exec(name);
    if (!match) return [];
    return [{ path: join(directory, name), index: Number(match[1]), mode: match[2] as FastPathMode }];
  });
}

/**
 * Makes the interfaces that run the fast path those of `wishes`, or, without wishes, leaves them; in both cases those
 * that have gone or become a port are given up, and MAC addresses that have changed are followed. Throws HG_XDP, and
 * attaches nothing then, when one of them cannot.
 */
export function arrangeFastPath(instance: Instance, wishes?: readonly FastPathWish[]): void {
  const links = withNetlink({}, listLinks);
  const wanted = wishes?.map((wish) => ({ ...wish, link: linkOf(wish, links) }));
  if (wanted) refuseTogether(wanted);
  const stay: Attached[] = [];
  for (const attached of pinnedFastPaths(instance.directory)) {
    const link = links.find(({ index }) => index === attached.index);
    const isWanted =
      !wanted || wanted.some((wish) => wish.link.index === attached.index && wish.mode === attached.mode);
    if (link && isWanted && isAlive(attached.path) && !isEnslaved(link)) {
      stay.push(attached);
      writePort(instance, link);
    } else {
      removeFastPath(instance, attached);
    }
  }
  const fresh = (wanted ?? []).filter(({ link }) => !stay.some(({ index }) => index === link.index));
  if (fresh.length === 0) return;
  if (!instance.program(fastPathProgram)) addProgram(instance, fastPathProgram);
  const done: Attached[] = [];
  try {
    for (const wish of fresh) done.push(addFastPath(instance, wish));
    if (wanted!.length > 1) for (const wish of wanted!) refuseDeadEnd(wish);
  } catch (error) {
    for (const attached of done) removeFastPath(instance, attached);
    throw error;
  }
}

/** Those of the wishes whose interface is there. */
export function wishesWithInterface(wishes: readonly FastPathWish[]): FastPathWish[] {
  const names = new Set(withNetlink({}, listLinks).map(({ name }) => name));
  return wishes.filter(({ name }) => names.has(name));
}

type Wanted = FastPathWish & { readonly link: Link };

function refuse({ name }: FastPathWish, why: string, hint?: string): never {
  throw new HeadgateError('HG_XDP', `Cannot run the fast path at "${name}": ${why}`, hint ? { hint } : {});
}

/** The interface of a wish, if it is one that can have it. */
function linkOf(wish: FastPathWish, links: readonly Link[]): Link {
  const link = links.find(({ name }) => name === wish.name);
  if (!link) refuse(wish, 'there is no such interface in this network namespace');
  if (link.arpType !== arpTypes.ether)
    refuse(wish, 'wanted an Ethernet interface, found one of another kind');
  if (isEnslaved(link)) {
    const master = links.find(({ index }) => index === link.master)?.name ?? `interface ${link.master}`;
    refuse(wish, `it is a port of "${master}", so packets for this host arrive there`);
  }
  const most = pageBytes() - pageOverheadBytes;
  if (wish.mode === 'native' && link.mtu > most)
    refuse(wish, `wanted an MTU of at most ${most}, so that a packet fits in a page, found ${link.mtu}`);
  return link;
}

const isEnslaved = (link: Link): boolean => link.master !== undefined && isPort(link);

/** What stands against several wishes at once. */
function refuseTogether(wanted: readonly Wanted[]): void {
  for (const [place, wish] of wanted.entries()) {
    const earlier = wanted.slice(0, place);
    // A driver cannot send on to an interface whose driver does not take part.
    const other = earlier.find(({ mode }) => mode !== wish.mode);
    if (other) refuse(wish, `it is to run it in another way than "${other.name}": wanted one way for all`);
    const sharing = earlier.find(({ link }) => slotOf(link.index) === slotOf(wish.link.index));
    if (sharing)
      refuse(
        wish,
        `its number ${wish.link.index} shares a place with that of "${sharing.name}", ${sharing.link.index}`,
        'Name only one of the two; the other goes on at tc.',
      );
  }
}

/** PORT_SLOTS of bpf/xdp.h. */
const portSlots = 256;
const slotOf = (index: number): number => index % portSlots;

/** struct port of bpf/xdp.h. */
function writePort(instance: Instance, { index, mac }: Pick<Link, 'index' | 'mac'>): void {
  const port = Buffer.alloc(12);
  port.writeUInt32LE(index, 0);
  parseMac(mac).copy(port, 4);
  const map = instance.map('ports');
  if (!port.equals(map.lookup(slotOf(index))!)) map.update(slotOf(index), port);
}

function clearPort(instance: Instance, index: number): void {
  const map = instance.map('ports');
  const slot = slotOf(index);
  if (Buffer.from(map.lookup(slot)!).readUInt32LE(0) === index) map.update(slot, Buffer.alloc(12));
}

/** The program only acts on what is listed, so the interface is listed before the first packet meets it. */
function addFastPath(instance: Instance, wish: Wanted): Attached {
  const { link, mode } = wish;
  const path = join(instance.directory, `link_${link.index}_${mode}`);
  writePort(instance, link);
  try {
    const attachment = attachXdp({
      programFd: instance.program(fastPathProgram)!.fd,
      ifindex: link.index,
      mode,
    });
    try {
      pin(attachment.fd, path);
    } finally {
      attachment.close();
    }
    return { path, index: link.index, mode };
  } catch (error) {
    clearPort(instance, link.index);
    explainRefusal(wish, error);
  }
}

function explainRefusal(wish: Wanted, error: unknown): never {
  const code = error instanceof SystemError ? error.code : undefined;
  switch (code) {
    case undefined:
    case 'EPERM':
    case 'EACCES':
    case 'ENOMEM':
      throw error;
    case 'EBUSY':
    case 'EEXIST':
      return refuse(
        wish,
        'another program is attached there at XDP',
        `Look with: ip -d link show ${wish.name}`,
      );
    case 'EOPNOTSUPP':
      return refuse(wish, 'its driver cannot run XDP');
    default:
      return refuse(
        wish,
        `the driver refuses it with ${code}`,
        'Drivers refuse an MTU that is too large for them, or too few queues; the kernel log may say which.',
      );
  }
}

/** Frames redirected to a device that takes none would be lost without a word. */
function refuseDeadEnd(wish: Wanted): void {
  if (wish.mode === 'generic' || xdpFeatures(wish.link.index)?.transmit !== false) return;
  refuse(
    wish,
    'its driver takes no frames from other interfaces',
    wish.link.kind === 'veth'
      ? 'A veth takes them when its other end has GRO on (ethtool -K NAME gro on) or runs an XDP program.'
      : 'Name only the one interface, if clients and real servers are both there; otherwise leave it out.',
  );
}

/** The kernel takes a program off some time after its pin is gone: too late for another one to take its place. */
function removeFastPath(instance: Instance, { path, index }: Attached): void {
  const link = openLink(openPinned(path));
  try {
    link.detach();
  } finally {
    link.close();
  }
  unlinkSync(path);
  clearPort(instance, index);
}
