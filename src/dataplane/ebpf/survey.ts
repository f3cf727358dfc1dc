import { type Address, addressFromBytes, parseAddress } from '../../model/address.ts';
import type { Path } from '../../model/outlook.ts';
import type { Destination, VirtualService } from '../../model/virtual-service.ts';
import { openById, programInfo } from '../../sys/bpf/info.ts';
import { tcxProgramIds } from '../../sys/bpf/link.ts';
import { tcxSupported } from '../../sys/bpf/probe.ts';
import { readLargeReceive } from '../../sys/ethtool.ts';
import { closeFd, isSystemError } from '../../sys/ffi.ts';
import { listAddresses } from '../../sys/netlink/address.ts';
import { findLink, interfaceFlags, type Link, listLinks } from '../../sys/netlink/link.ts';
import { askForNeighbour, listNeighbours } from '../../sys/netlink/neighbour.ts';
import { listRoutes, tables } from '../../sys/netlink/route.ts';
import { type Netlink, withNetlink } from '../../sys/netlink/socket.ts';
import { readSysctl } from '../../sys/sysctl.ts';
import { readFirewall, readIfThere } from '../firewall.ts';
import {
  type HostSurvey,
  type KernelService,
  type PlaneSurvey,
  type SurveyedEvent,
  type SurveyedInterface,
  surveyedEvents,
} from '../host-survey.ts';
import { internalDevice, missingPlaces, placesOf, reportDevice } from './attach.ts';
import { findClaims } from './claims.ts';
import { countEvent } from './events.ts';
import type { Instance } from './instance.ts';
import { numbers } from './layout.generated.ts';
import type { ListedService } from './listing.ts';
import { type Mark, marksOf, surveyMarks } from './mark-routes.ts';
import { pathsTo } from './outlook.ts';

/** Kernel parameters of the whole host that bear on forwarding. */
const parameterNames = [
  'net.ipv4.ip_forward',
  'net.ipv6.conf.all.forwarding',
  'net.ipv4.conf.lo.forwarding',
  'net.ipv4.conf.lo.accept_local',
  'net.ipv4.conf.all.accept_local',
  'net.ipv4.conf.all.rp_filter',
  'net.ipv4.conf.all.src_valid_mark',
  'net.ipv6.conf.lo.forwarding',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.neigh.default.gc_thresh3',
  'net.netfilter.nf_conntrack_count',
  'net.netfilter.nf_conntrack_max',
];

/** The kernel asks three times, a second apart, before it gives up. */
const neighbourWaitMs = 3500;
const neighbourPollMs = 50;

/** Reads what a diagnosis needs; changes nothing but that unknown neighbours are asked for. */
export async function surveyHost(
  plane: { readonly instance: Instance; readonly listed: readonly ListedService[] } | undefined,
): Promise<HostSurvey> {
  const listed = plane?.listed ?? [];
  const addresses = addressesOf(
    listed.map(({ service, destinations }) => ({ service, destinations: [...destinations.values()] })),
  );
  return surveyAround(plane, addresses);
}

/** The addresses and marks of virtual services, the addresses of their destinations, and those that full NAT was given. */
type Concerned = {
  readonly virtual: readonly Address[];
  readonly real: readonly Address[];
  readonly local: readonly Address[];
  readonly marks: readonly Mark[];
};

/** What services and their destinations have to do with the host, each address and mark once. */
export function addressesOf(
  services: readonly {
    readonly service: Pick<VirtualService, 'id'>;
    readonly destinations: readonly { readonly destination: Pick<Destination, 'address' | 'fullNat'> }[];
  }[],
): Concerned {
  const destinations = services.flatMap(({ destinations }) => destinations.map((one) => one.destination));
  return {
    virtual: unique(services.flatMap(({ service: { id } }) => (id.kind === 'address' ? [id.address] : []))),
    real: unique(destinations.map(({ address }) => address)),
    local: unique(destinations.flatMap(({ fullNat }) => fullNat?.localAddresses ?? [])),
    marks: marksOf(services.map(({ service }) => service.id)),
  };
}

/** The same around a plane of whatever kind; without programs of ours there is nothing to say of them. */
export async function surveyAround(
  plane: { readonly instance: Instance } | undefined,
  { virtual, real, local, marks }: Concerned,
): Promise<HostSurvey> {
  const missing = plane ? missingPlaces(plane.instance.directory) : [];
  const interfaces = readInterfaces();
  const [paths, claims] = await Promise.all([
    pathsWhenAsked(unique([...virtual, ...real, ...local])),
    findClaims(interfaces, virtual),
  ]);
  return {
    ...(plane && { plane: readPlane(plane.instance, missing, interfaces, marks) }),
    tcx: tcxSupported(),
    interfaces,
    defaultRoutes: readDefaultRoutes(interfaces),
    paths,
    parameters: Object.fromEntries(
      parameterNames.flatMap((name) => {
        const value = readSysctl(name);
        return value === undefined ? [] : [[name, value]];
      }),
    ),
    neighbours: withNetlink({}, (netlink) => listNeighbours(netlink)).length,
    claims,
    firewall: readFirewall(),
    kernelServices: parseKernelServices(readIfThere('/proc/net/ip_vs')),
  };
}

const unique = <T>(items: readonly T[]): T[] => [...new Set(items)];

function readPlane(
  instance: Instance,
  missing: ReturnType<typeof missingPlaces>,
  interfaces: readonly SurveyedInterface[],
  marks: readonly Mark[],
): PlaneSurvey {
  const { settings, runtime } = instance;
  const nameOf = (index: number) => interfaces.find((one) => one.index === index)?.name ?? String(index);
  const program = instance.program('headgate_ethernet');
  const internal = interfaces.filter(({ role }) => role === 'internal');
  const counted = surveyedEvents.map((event): [SurveyedEvent, number] => [
    event,
    Number(countEvent(instance, `EVENT_${event}`)),
  ]);
  const localPorts = { first: settings.get(0, 'local_port_first'), count: settings.get(0, 'local_ports') };
  return {
    missing: missing.map(({ index, direction }) => ({ device: nameOf(index), direction })),
    before: interfaces.flatMap((one) => {
      const programs = one.role === 'covered' ? programsBefore(one.index) : [];
      return programs.length > 0 ? [{ device: one.name, programs }] : [];
    }),
    internalPair:
      internal.length === 2 &&
      internal.every(({ up }) => up) &&
      internal.some(({ index }) => index === settings.get(0, 'internal_ifindex')),
    compiled: program === undefined || programInfo(program.fd).compiledBytes > 0,
    held: settings.get(0, 'hold') === numbers.hold.HOLD_DROP,
    entries: runtime.get(0, 'entries'),
    ...(localPorts.count > 0 && { localPorts }),
    ...(marks.length > 0 && { marks: surveyMarks(marks) }),
    sweptMsAgo: Number((process.hrtime.bigint() - runtime.getBig(0, 'tick_ns')) / 1_000_000n),
    events: Object.fromEntries(counted.filter(([, count]) => count > 0)),
  };
}

/** Names of the programs that tcx runs ahead of ours at the ingress of an interface. */
function programsBefore(index: number): string[] {
  const names = tcxProgramIds(index, 'ingress').map((id) => {
    const fd = openById('program', id);
    try {
      return programInfo(fd).name;
    } finally {
      closeFd(fd);
    }
  });
  const own = names.findIndex((name) => name.startsWith('headgate_'));
  return own < 0 ? [] : names.slice(0, own);
}

function readInterfaces(): SurveyedInterface[] {
  return withNetlink({}, (netlink) => {
    const links = listLinks(netlink);
    const addresses = listAddresses(netlink);
    return links.map((link): SurveyedInterface => {
      const { index, name, kind, up, flags, mtu, master, xdp } = link;
      const masterName = master === undefined ? undefined : links.find((one) => one.index === master)?.name;
      const larger = (parameter: string) =>
        Math.max(ipv4Parameter('all', parameter), ipv4Parameter(name, parameter));
      return {
        index,
        name,
        up,
        carrier: (flags & interfaceFlags.lowerUp) !== 0,
        mtu,
        arp: (flags & interfaceFlags.noArp) === 0,
        loopback: (flags & interfaceFlags.loopback) !== 0,
        role: roleOf(link),
        addresses: addresses
          .filter((one) => one.index === index)
          .flatMap(({ address, prefixLength, duplicate, tentative }) => {
            const parsed = parseAddress(address);
            return parsed ? [{ address: parsed, prefixLength, duplicate, tentative }] : [];
          }),
        rpFilter: larger('rp_filter'),
        arpIgnore: larger('arp_ignore'),
        sendRedirects: larger('send_redirects') > 0,
        lro: hasLargeReceive(name),
        xdp,
        ...(kind !== undefined && { kind }),
        ...(masterName !== undefined && { master: masterName }),
      };
    });
  });
}

const ipv4Parameter = (device: string, parameter: string): number =>
  Number(readSysctl(`net.ipv4.conf.${device.replaceAll('.', '/')}.${parameter}`) ?? 0);

function roleOf(link: Link): SurveyedInterface['role'] {
  if (link.name === internalDevice || link.name === reportDevice) return 'internal';
  if (placesOf([link]).length > 0) return 'covered';
  return link.master === undefined ? 'unsupported' : 'port';
}

function hasLargeReceive(device: string): boolean {
  try {
    return readLargeReceive(device);
  } catch (error) {
    // Drivers without offloads, and interfaces that have gone meanwhile.
    if (isSystemError(error, 'EOPNOTSUPP', 'ENODEV')) return false;
    throw error;
  }
}

function readDefaultRoutes(interfaces: readonly SurveyedInterface[]): HostSurvey['defaultRoutes'] {
  return withNetlink({}, (netlink) => {
    const devices = (family: 'ipv4' | 'ipv6') =>
      unique(
        listRoutes(netlink, family)
          .filter(
            ({ destination, table, type }) =>
              destination === 'default' && table === tables.main && type === 'unicast',
          )
          .map(({ index }) => interfaces.find((one) => one.index === index)?.name ?? 'several interfaces'),
      );
    return { 4: devices('ipv4'), 6: devices('ipv6') };
  });
}

/** Paths once every neighbour on them is known or has not answered. */
async function pathsWhenAsked(addresses: readonly Address[]): Promise<ReadonlyMap<Address, Path>> {
  const deadline = performance.now() + neighbourWaitMs;
  const first = pathsTo(addresses);
  const unknown = [...first.values()].filter((path) => path.kind === 'neighbour' && path.mac === undefined);
  if (unknown.length === 0) return first;
  withNetlink({}, (netlink) => {
    for (const path of unknown) if (path.kind === 'neighbour') ask(netlink, path);
  });
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, neighbourPollMs));
    const paths = pathsTo(addresses);
    const open = withNetlink({}, (netlink) => listNeighbours(netlink)).some(
      ({ state, address }) =>
        state === 'incomplete' &&
        [...paths.values()].some((path) => path.kind === 'neighbour' && path.via === address),
    );
    if (!open || performance.now() > deadline) return paths;
  }
}

function ask(netlink: Netlink, { device, via }: Extract<Path, { kind: 'neighbour' }>): void {
  const link = findLink(netlink, device);
  // Interfaces without ARP and those that are down have nobody to ask.
  if (link?.up && (link.flags & interfaceFlags.noArp) === 0) askForNeighbour(netlink, link.index, via);
}

/** Virtual services in /proc/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show): all in hexadecimal. */
export function parseKernelServices(text: string | undefined): KernelService[] {
  return (text ?? '').split('\n').flatMap((line): KernelService[] => {
    const [protocol, where] = line.trim().split(/\s+/);
    if (protocol === 'FWM') return [{ protocol: 'fwm' }];
    if (!where || (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP')) return [];
    const match = /^(?:([0-9A-F]{8})|\[(.+)\]):([0-9A-F]{4})$/i.exec(where);
    const address = match?.[1]
      ? addressFromBytes(Buffer.from(match[1], 'hex'))
      : parseAddress(match?.[2] ?? '');
    return match && address
      ? [{ protocol: protocol.toLowerCase(), address, port: Number.parseInt(match[3]!, 16) }]
      : [];
  });
}
