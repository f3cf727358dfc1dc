import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type Address, addressFromBytes, addressToBytes, familyOf, parseAddress } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { attachTcx, openLink } from '../sys/bpf/link.ts';
import { loadObject } from '../sys/bpf/load.ts';
import { splitPerCpu } from '../sys/bpf/map.ts';
import { parseObject } from '../sys/bpf/object.ts';
import { openPinned, openPinnedMap, pin, unlessGone } from '../sys/bpf/pin.ts';
import { bpfAccess, tcxSupported } from '../sys/bpf/probe.ts';
import type { ProgramHandle } from '../sys/bpf/program.ts';
import { bpffsDirectory, ensureBpffs, hostMountNamespace } from '../sys/mount.ts';
import { arpTypes, type Link, listLinks } from '../sys/netlink/link.ts';
import type { Netlink } from '../sys/netlink/socket.ts';
import { addClsact, attachBpfFilter, deleteBpfFilter, listBpfFilters } from '../sys/netlink/tc.ts';
import { netnsCookie } from '../sys/netns.ts';
import { packageRoot } from '../sys/program.ts';
import type { State } from './resource.ts';
import { hasRecord } from './store.ts';

/**
 * The program of bpf/decapsulate.bpf.c at tc ingress of every interface with a layer 3 of its own but loopback. What is
 * pinned in a folder for this network namespace keeps it there when the command has ended.
 */

const objectPath = join(packageRoot, 'bpf/decapsulate.bpf.o');
const folderPattern = /^agent_\d+$/;
const folderName = () => `agent_${netnsCookie()}`;

/** Where there is no tcx: behind the data plane's filter, which has priority 1. */
const filterPlace = { direction: 'ingress', priority: 2, handle: 1 } as const;
const filterName = 'decapsulate';

const vipsFile = 'map_vips';
const outcomesFile = 'map_outcomes';
const programPrefix = 'program_';
const linkFile = ({ index }: Link) => `link_${index}`;

/** ARPHRD types whose packets start with the IP header. */
const rawTypes: readonly number[] = [65534, 519, 512, 768, 769, 776, 778, 823];

type ProgramName = 'decapsulate_ethernet' | 'decapsulate_raw';

/** The program for an interface; none for loopback and for ports of a bridge or bond, which have no layer 3. */
function programFor(link: Link): ProgramName | undefined {
  if (link.master !== undefined && link.slaveKind !== 'vrf') return undefined;
  if (link.arpType === arpTypes.ether) return 'decapsulate_ethernet';
  return rawTypes.includes(link.arpType) ? 'decapsulate_raw' : undefined;
}

/** What becomes of packets, since the program was put in place. */
export type Outcomes = {
  readonly decapsulated: number;
  readonly fragments: number;
  readonly dropped: number;
};

/** The virtual addresses decapsulated for, `absent`, or `incomplete` when an interface or a newer program lacks. */
export function readDecapsulation(netlink: Netlink): State {
  const folder = join(seenBpffs(), folderName());
  const names = existsSync(folder) ? readdirSync(folder) : [];
  if (names.length === 0) return { text: 'absent' };
  const places = listLinks(netlink).filter(programFor);
  const whole =
    names.includes(programPrefix + buildOf(readFileSync(objectPath))) &&
    places.every((link) =>
      tcxSupported()
        ? names.includes(linkFile(link)) && isAlive(join(folder, linkFile(link)))
        : listBpfFilters(netlink, link.index, 'ingress').some(({ name }) => name === filterName),
    );
  if (!whole || !names.includes(vipsFile)) return { text: 'incomplete' };
  const map = openPinnedMap(join(folder, vipsFile));
  try {
    return { text: [...map.keys()].map(addressOfKey).sort().join(' ') };
  } finally {
    map.close();
  }
}

/** Counts; undefined where nothing is decapsulated. */
export function readOutcomes(): Outcomes | undefined {
  const path = join(seenBpffs(), folderName(), outcomesFile);
  if (!existsSync(path)) return undefined;
  const map = openPinnedMap(path);
  try {
    const [decapsulated, fragments, dropped] = [0, 1, 2].map((key) =>
      splitPerCpu(map, map.lookup(key)!).reduce((sum, cpu) => sum + Number(cpu.readBigUInt64LE(0)), 0),
    );
    return { decapsulated: decapsulated!, fragments: fragments!, dropped: dropped! };
  } finally {
    map.close();
  }
}

/** Decapsulates for the addresses in `text`, or for none when it is `absent`. Throws HG_NO_BPF, HG_NOT_ROOT, SystemError. */
export function writeDecapsulation(netlink: Netlink, text: string): void {
  if (text === 'absent') {
    remove(netlink);
    return;
  }
  const access = bpfAccess().state;
  if (access !== 'allowed')
    throw access === 'forbidden'
      ? new HeadgateError('HG_NOT_ROOT', 'Cannot decapsulate: the kernel refuses BPF to this user')
      : new HeadgateError('HG_NO_BPF', 'Cannot decapsulate: this kernel has no BPF system call');
  const bpffs = ensureBpffs();
  removeAbandoned(bpffs);
  const folder = join(bpffs, folderName());
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const bytes = readFileSync(objectPath);
  const vips = text.split(' ').map((vip) => parseAddress(vip)!);
  const loaded = loadObject(parseObject(bytes), { maps: { vips: { maxEntries: vips.length } } });
  try {
    for (const vip of vips) loaded.maps.vips!.update(keyOf(vip), Buffer.from([1]));
    const places = listLinks(netlink).filter(programFor);
    for (const link of places) attach(netlink, folder, link, loaded.programs[programFor(link)!]!);
    const wanted = new Set(places.map(linkFile));
    for (const name of readdirSync(folder))
      if (name.startsWith('link_') && !wanted.has(name)) unlinkSync(join(folder, name));
    // The names that make the whole of it come last: one that is cut off before is incomplete.
    repin(loaded.maps.outcomes!.fd, join(folder, outcomesFile));
    repin(loaded.maps.vips!.fd, join(folder, vipsFile));
    for (const old of readdirSync(folder)) if (old.startsWith(programPrefix)) unlinkSync(join(folder, old));
    pin(loaded.programs.decapsulate_ethernet!.fd, join(folder, programPrefix + buildOf(bytes)));
  } finally {
    loaded.close();
  }
}

/** Every packet meets the old program with the old addresses or the new one with the new. */
function attach(netlink: Netlink, folder: string, link: Link, program: ProgramHandle): void {
  if (!tcxSupported()) {
    addClsact(netlink, link.index);
    attachBpfFilter(netlink, {
      index: link.index,
      ...filterPlace,
      programFd: program.fd,
      name: filterName,
    });
    return;
  }
  const path = join(folder, linkFile(link));
  if (existsSync(path) && isAlive(path)) {
    const attached = openLink(openPinned(path));
    try {
      attached.update(program.fd);
    } finally {
      attached.close();
    }
    return;
  }
  const attached = attachTcx({ ifindex: link.index, direction: 'ingress', programFd: program.fd });
  try {
    repin(attached.fd, path);
  } finally {
    attached.close();
  }
}

function remove(netlink: Netlink): void {
  if (!tcxSupported()) {
    for (const { index } of listLinks(netlink))
      if (listBpfFilters(netlink, index, 'ingress').some(({ name }) => name === filterName))
        deleteBpfFilter(netlink, { index, ...filterPlace });
  }
  removeFolder(join(seenBpffs(), folderName()));
}

/** Links that lose their pin detach. */
function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Folders of namespaces that are gone: all of their links have lost their interface; and of agents that were cut off before there was
 * one, which are empty and have no record any more. Agents of other namespaces may be at the same.
 */
export function removeAbandoned(bpffs: string): void {
  for (const name of readdirSync(bpffs)) {
    if (!folderPattern.test(name) || name === folderName()) continue;
    unlessGone(() => {
      const folder = join(bpffs, name);
      const files = readdirSync(folder);
      const links = files.filter((file) => file.startsWith('link_'));
      const isCutOff = files.length === 0 && !hasRecord(name.replace('agent_', ''));
      if (isCutOff || (links.length > 0 && !links.some((file) => isAlive(join(folder, file)))))
        removeFolder(folder);
    });
  }
}

function repin(fd: number, path: string): void {
  if (existsSync(path)) unlinkSync(path);
  pin(fd, path);
}

function isAlive(path: string): boolean {
  const link = openLink(openPinned(path));
  try {
    return link.info().ifindex !== 0;
  } finally {
    link.close();
  }
}

/** The bpffs as it is reached from here, whether or not it is mounted yet. */
export const seenBpffs = () => `${hostMountNamespace()?.root ?? ''}${bpffsDirectory}`;

/** Twelve hexadecimal digits of the object's digest: a bpffs allows no dots in names. */
const buildOf = (object: Buffer) => createHash('sha256').update(object).digest('hex').slice(0, 12);

function keyOf(vip: Address): Buffer {
  const bytes = addressToBytes(vip);
  return familyOf(vip) === 6
    ? Buffer.from(bytes)
    : Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), bytes]);
}

function addressOfKey(key: Buffer): string {
  const mapped = key.readUIntBE(0, 6) === 0 && key.readUIntBE(6, 6) === 0xffff;
  return addressFromBytes(mapped ? key.subarray(12) : key);
}
