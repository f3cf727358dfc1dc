import { closeSync, existsSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { HeadgateError } from '../../model/errors.ts';
import { programInfo } from '../../sys/bpf/info.ts';
import { attachSocketLookup, attachTcx, openLink } from '../../sys/bpf/link.ts';
import { openPinned, pin } from '../../sys/bpf/pin.ts';
import { tcxSupported } from '../../sys/bpf/probe.ts';
import type { ProgramHandle } from '../../sys/bpf/program.ts';
import { setOffloads } from '../../sys/ethtool.ts';
import { createVeth, deleteLink, findLink, type Link, listLinks, setLink } from '../../sys/netlink/link.ts';
import { type Netlink, withNetlink } from '../../sys/netlink/socket.ts';
import { addClsact, attachBpfFilter, deleteBpfFilter, listBpfFilters } from '../../sys/netlink/tc.ts';
import { readSysctl, writeSysctl } from '../../sys/sysctl.ts';
import {
  type AttachedProgram,
  fastPathProgram,
  type Instance,
  markProgram,
  programFile,
} from './instance.ts';

/** The veth pair through which packets go that become ICMP errors or fragments: its two ends. */
export const internalDevice = 'hg0';
export const reportDevice = 'hg1';
/** Whatever came in on any interface must get through: a veth's greatest. */
const internalMtu = 65_535;

const loopbackIndex = 1;

/** ARPHRD types whose frames start with an Ethernet header: Ethernet and loopback. */
const ethernetTypes: readonly number[] = [1, 772];
/** ARPHRD types whose packets start with the IP header: none, rawip, ppp, tunnels. */
const rawTypes: readonly number[] = [65534, 519, 512, 768, 769, 776, 778, 823];

/** clsact filters of ours are recognised, and replaced, by this place. */
const filterPlace = { priority: 1, handle: 1 } as const;

export type Place = {
  readonly index: number;
  readonly direction: 'ingress' | 'egress';
  readonly program: AttachedProgram;
};

/**
 * Attaches the programs wherever they are missing: both directions of every layer-3 interface, loopback included, and
 * the internal pair, which is made if needed. Cheap when all is in place; every command calls it, so that interfaces
 * that came later are covered. Resolves to the names of those that were not, or not in both directions.
 */
export async function attachEverywhere(instance: Instance): Promise<readonly string[]> {
  await addMissingPrograms(instance);
  const tcx = tcxSupported();
  if (!tcx) await attachSign(instance);
  return withNetlink({}, (netlink) => {
    ensureInternalPair(netlink, instance);
    prepareLoopback();
    const pinned = new Set(readdirSync(instance.directory));
    const links = listLinks(netlink);
    const places = placesIn(instance.directory, links);
    const added = new Set<number>();
    for (const place of places) {
      // An interface of another kind that came between the two lists gets its program by the next call.
      const program = instance.program(place.program);
      if (!program) continue;
      try {
        const isNew = tcx
          ? attachByLink(instance.directory, place, program, pinned)
          : attachByFilter(netlink, place, program);
        if (isNew) added.add(place.index);
      } catch (error) {
        // An interface that has gone meanwhile needs nothing.
        if (findLink(netlink, place.index)) throw error;
      }
    }
    // Interfaces that have gone, and those that have become a port of another.
    const wanted = new Set([signFile, ...places.map(linkFile)]);
    for (const name of pinned) {
      if (/^link_\d+_(in|e)gress$/.test(name) && !wanted.has(name))
        unlinkSync(join(instance.directory, name));
    }
    return links.filter(({ index }) => added.has(index)).map(({ name }) => name);
  });
}

/** Loads what the interfaces need and the instance does not have yet; the loader is only imported then. */
async function addMissingPrograms(instance: Instance): Promise<void> {
  const places = withNetlink({}, (netlink) => placesIn(instance.directory, listLinks(netlink)));
  for (const program of new Set(places.map((place) => place.program))) {
    if (instance.program(program)) continue;
    const { addProgram } = await import('./create.ts');
    addProgram(instance, program);
  }
}

/** Where the programs of an instance belong: the one for marked packets is there once it has been needed. */
function placesIn(directory: string, links: readonly Link[]): Place[] {
  const places = placesOf(links);
  const internal = links.find(({ name }) => name === internalDevice);
  if (internal && existsSync(join(directory, programFile(markProgram))))
    places.push({ index: internal.index, direction: 'ingress', program: markProgram });
  return places;
}

/** Where programs belong, given the interfaces there are: not on ports of a bridge or bond, those have no layer 3. */
export function placesOf(links: readonly Link[]): Place[] {
  return links.flatMap((link): Place[] => {
    const { index, name, arpType, master } = link;
    if (name === internalDevice) return [];
    if (name === reportDevice) return [{ index, direction: 'ingress', program: 'headgate_report' }];
    if (master !== undefined && isPort(link)) return [];
    if (ethernetTypes.includes(arpType)) {
      return [
        { index, direction: 'ingress', program: 'headgate_ethernet' },
        { index, direction: 'egress', program: 'headgate_egress' },
      ];
    }
    if (rawTypes.includes(arpType)) {
      return [
        { index, direction: 'ingress', program: 'headgate_raw' },
        { index, direction: 'egress', program: 'headgate_raw_egress' },
      ];
    }
    return [];
  });
}

/** Whether what has a master is a port of a bridge, bond, team or switch; members of a VRF keep their layer 3. */
export function isPort(link: Link): boolean {
  return link.slaveKind !== 'vrf';
}

/** Pinned only where there is no tcx. */
const signFile = 'link_namespace';

const linkFile = ({ index, direction }: Place) => `link_${index}_${direction}`;

/** False: it was there. */
function attachByLink(
  directory: string,
  place: Place,
  program: ProgramHandle,
  pinned: ReadonlySet<string>,
): boolean {
  const name = linkFile(place);
  const path = join(directory, name);
  if (pinned.has(name)) {
    if (isAlive(path)) return false;
    unlinkSync(path);
  }
  const link = attachTcx({ ...place, ifindex: place.index, programFd: program.fd });
  try {
    pin(link.fd, path);
  } finally {
    link.close();
  }
  return true;
}

/** Without tcx: another program at the filter's place is replaced in one step. False: this one was there. */
function attachByFilter(netlink: Netlink, place: Place, program: ProgramHandle): boolean {
  const { id } = programInfo(program.fd);
  const isThere = ({ programId, priority, handle }: ReturnType<typeof listBpfFilters>[number]) =>
    programId === id && priority === filterPlace.priority && handle === filterPlace.handle;
  if (listBpfFilters(netlink, place.index, place.direction).some(isThere)) return false;
  addClsact(netlink, place.index);
  attachBpfFilter(netlink, { ...place, ...filterPlace, programFd: program.fd, name: place.program });
  return true;
}

/**
 * Without tcx no pinned link tells whether the namespace still exists: one of a socket lookup program does, which
 * lets every lookup pass.
 */
async function attachSign(instance: Instance): Promise<void> {
  const path = join(instance.directory, signFile);
  if (existsSync(path)) return;
  const { loadPrograms } = await import('./create.ts');
  const loaded = loadPrograms(instance.map, ['headgate_alive']);
  const namespace = openSync('/proc/self/ns/net', 'r');
  try {
    const link = attachSocketLookup(loaded.programs.headgate_alive!.fd, namespace);
    pin(link.fd, path);
    link.close();
  } finally {
    closeSync(namespace);
    loaded.close();
  }
}

/** Takes the programs off every interface. Links detach with their pins; filters have to be deleted. */
export function detachEverywhere(): void {
  withNetlink({}, (netlink) => {
    const links = listLinks(netlink);
    if (!tcxSupported()) {
      for (const { index, direction } of placesOf(links)) {
        if (listBpfFilters(netlink, index, direction).some(({ name }) => name?.startsWith('headgate_'))) {
          deleteBpfFilter(netlink, { index, direction, ...filterPlace });
        }
      }
    }
    const [internal, report] = [internalDevice, reportDevice].map((device) =>
      links.find(({ name }) => name === device),
    );
    if (internal && report && isEndOf(internal, report)) deleteLink(netlink, internal.index);
  });
}

/** Whether the interface, or the namespace, a pinned link was made for still exists. */
export function isAlive(path: string): boolean {
  const link = openLink(openPinned(path));
  try {
    const { ifindex, netnsInode } = link.info();
    return ifindex !== 0 || netnsInode !== 0;
  } finally {
    link.close();
  }
}

/** Where a program should run and does not: it was taken off, or the interface came after the last command. */
export function missingPlaces(directory: string): Place[] {
  return withNetlink({}, (netlink) => {
    const tcx = tcxSupported();
    return placesIn(directory, listLinks(netlink)).filter((place) => {
      const path = join(directory, linkFile(place));
      if (tcx) return !existsSync(path) || !isAlive(path);
      return !listBpfFilters(netlink, place.index, place.direction).some(
        ({ handle, priority }) => handle === filterPlace.handle && priority === filterPlace.priority,
      );
    });
  });
}

/** The pinned links of an instance to interfaces: path and what is attached there. */
function pinnedLinks(directory: string): { path: string; index: number; hook: string }[] {
  return readdirSync(directory).flatMap((name) => {
    const match = /^link_(\d+)_(ingress|egress|native|generic)$/.exec(name);
    return match ? [{ path: join(directory, name), index: Number(match[1]), hook: match[2]! }] : [];
  });
}

/** Hands every interface over to other programs, each in one step. */
export function swapPrograms(directory: string, programOf: (name: AttachedProgram) => ProgramHandle): void {
  withNetlink({}, (netlink) => {
    const places = placesIn(directory, listLinks(netlink));
    if (!tcxSupported()) {
      for (const place of places) attachByFilter(netlink, place, programOf(place.program));
    }
    for (const { path, index, hook } of pinnedLinks(directory)) {
      const place = places.find((candidate) => candidate.index === index && candidate.direction === hook);
      const program = hook === 'native' || hook === 'generic' ? fastPathProgram : place?.program;
      if (!program || !isAlive(path)) continue;
      const link = openLink(openPinned(path));
      try {
        link.update(programOf(program).fd);
      } finally {
        link.close();
      }
    }
  });
}

/**
 * Whether an instance's network namespace still exists: its link at the loopback device lives exactly as long.
 * `unattached` when the command that made it was cut off before it got that far.
 */
export function habitation(directory: string): 'inhabited' | 'abandoned' | 'unattached' {
  const path = [`link_${loopbackIndex}_ingress`, signFile]
    .map((name) => join(directory, name))
    .find((path) => existsSync(path));
  if (path === undefined) return 'unattached';
  return isAlive(path) ? 'inhabited' : 'abandoned';
}

/**
 * Makes the internal pair where it is missing, and readies it where a command that made it was cut off. Throws HG_INTERFACE where
 * an interface that is no end of such a pair has one of the two names.
 */
function ensureInternalPair(netlink: Netlink, instance: Instance): void {
  let pair = internalPair(netlink);
  if (!pair) {
    createVeth(netlink, {
      name: internalDevice,
      mtu: internalMtu,
      peer: { name: reportDevice, mtu: internalMtu },
    });
    pair = internalPair(netlink)!;
  }
  for (const { name, index, up, mtu } of pair) {
    // Made by an earlier build.
    if (mtu !== internalMtu) setLink(netlink, index, { mtu: internalMtu });
    if (up) continue;
    setOffloads(name, { txChecksum: false, tso: false, gso: false, gro: false });
    if (readSysctl(`net.ipv6.conf.${name}.disable_ipv6`) !== undefined)
      writeSysctl(`net.ipv6.conf.${name}.disable_ipv6`, 1);
    setLink(netlink, index, { up: true });
  }
  const [{ index }] = pair;
  if (instance.settings.get(0, 'internal_ifindex') !== index)
    instance.settings.set(0, 'internal_ifindex', index);
}

/** The two ends, `internalDevice` first; undefined where neither is there. Throws HG_INTERFACE. */
function internalPair(netlink: Netlink): readonly [Link, Link] | undefined {
  const internal = findLink(netlink, internalDevice);
  const report = findLink(netlink, reportDevice);
  if (internal && report && isEndOf(internal, report) && isEndOf(report, internal)) return [internal, report];
  const foreign = internal ?? report;
  if (!foreign) return undefined;
  const { name, kind } = foreign;
  throw new HeadgateError(
    'HG_INTERFACE',
    `Cannot use "${name}" for ICMP errors: wanted the two ends of one veth pair, "${internalDevice}" and "${reportDevice}", ` +
      `found ${kind ?? 'an interface'} that is not one of them`,
    { hint: `Give it another name: ip link set dev ${name} name OTHER. Then do it again.` },
  );
}

const isEndOf = (one: Link, other: Link): boolean =>
  one.kind === 'veth' && one.lowerIndex === other.index && one.lowerNetnsId === undefined;

/**
 * Route lookups of the program start at the loopback device, whose forwarding flag makes them work with ip_forward
 * off; replies to clients on the director itself come in there with one of its own addresses as source.
 */
function prepareLoopback(): void {
  for (const name of [
    'net.ipv4.conf.lo.forwarding',
    'net.ipv4.conf.lo.accept_local',
    'net.ipv6.conf.lo.forwarding',
  ]) {
    const value = readSysctl(name);
    if (value !== undefined && value !== '1') writeSysctl(name, 1);
  }
}
