import { familyOf } from '../../model/address.ts';
import { gather } from '../../model/connection-batches.ts';
import { count } from '../../model/count.ts';
import { HeadgateError } from '../../model/errors.ts';
import type { LeftBehind, Move, MovePlan } from '../../model/move.ts';
import { mhTableSize } from '../../model/schedulers/mh.ts';
import { destinationKey, serviceFamily, serviceKey } from '../../model/service-id.ts';
import {
  mostFtpPorts,
  ownSysctlNames,
  type Sysctls,
  sysctlNames,
  sysctlText,
  sysctlTitle,
} from '../../model/sysctls.ts';
import type { Connection, Observed, ServiceEntry } from '../../model/table.ts';
import { type StaysBecause, staysBecause, type Travel, traveller } from '../../model/travel.ts';
import { readSysctl } from '../../sys/sysctl.ts';
import { ftpModule, kernelFtpPorts } from '../ipvs/ftp-helper.ts';
import type { BothPlanes } from './planes.ts';

/** What is known before a move: the plan for people, and the two tables. */
export type View = {
  readonly plan: MovePlan;
  readonly kernel: Observed;
  readonly own: Observed;
};

/** Both sides as far as a look needs them. */
export type Sides = Pick<BothPlanes, 'ipvs' | 'ebpf' | 'hasEbpf' | 'usesIpvs' | 'standsBack'> & {
  readonly ownSync: Pick<BothPlanes['ownSync'], 'syncDaemons'>;
};

/** A table's entries without what is counted. */
export const entriesOf = ({ services }: Observed): ServiceEntry[] =>
  services.map(({ service, destinations }) => ({
    service,
    destinations: destinations.map(({ destination }) => destination),
  }));

/** What becomes of each connection of the kernel's. */
export const kernelTraveller = (kernel: Observed): ((connection: Connection) => Travel) =>
  traveller(entriesOf(kernel), { helpedPorts: kernelFtpPorts() });

/** Part of a new table that may be taken by what is carried into it. */
const fullest = 0.8;

/** Looks at both sides and changes nothing. Rejects with HG_MOVE where the move cannot be made at all. */
export async function lookBefore(planes: Sides, move: Move): Promise<View> {
  const [kernel, own] = [
    await planes.ipvs.read({ counters: false }),
    await planes.ebpf.read({ counters: false }),
  ];
  const from = move === 'ipvs-to-ebpf' ? kernel : own;
  const to = move === 'ipvs-to-ebpf' ? own : kernel;
  const left = move === 'ipvs-to-ebpf' ? await leftInKernel(planes, kernel) : await lostToKernel(planes, own);
  const known = new Set(own.services.map(({ service }) => serviceKey(service.id)));
  const waits = (entry: ServiceEntry) =>
    !(known.has(serviceKey(entry.service.id)) && left.keep.has(serviceKey(entry.service.id)));
  const needed =
    move === 'ipvs-to-ebpf' ? planes.usesIpvs() || entriesOf(kernel).some(waits) : planes.hasEbpf();
  if (needed && move === 'ipvs-to-ebpf') {
    refuseTwoTables(planes, kernel, own);
    refuseSmallTable(left, own);
  }
  if (needed && move === 'ebpf-to-ipvs') refuseUnroutable(own);
  const destinations = from.services.flatMap((one) => one.destinations);
  return {
    kernel,
    own,
    plan: {
      ...{ move, needed },
      services: from.services.length,
      realServers: destinations.length,
      connections: left.connections,
      templates: left.templates,
      left: [...left.left, ...mhLeft(from, to)],
      before: [],
      notes: needed ? notesOf(move, from, to) : [],
    },
  };
}

type Left = {
  readonly left: readonly LeftBehind[];
  readonly connections: number;
  readonly templates: number;
  /** Services that have to stay in the kernel's table for the sake of connections. */
  readonly keep: ReadonlySet<string>;
};

async function leftInKernel(planes: Sides, kernel: Observed): Promise<Left> {
  const fateOf = kernelTraveller(kernel);
  const staying = new Map<StaysBecause, number>();
  const keep = new Set<string>();
  let [connections, templates] = [0, 0];
  for (const connection of await gather(planes.ipvs.connections())) {
    const fate = fateOf(connection);
    if ('stays' in fate) {
      staying.set(fate.stays, (staying.get(fate.stays) ?? 0) + 1);
      if (fate.service && keepsItsService(fate.stays)) keep.add(serviceKey(fate.service));
    } else if (connection.template) templates++;
    else connections++;
  }
  const left: LeftBehind[] = [
    ...[...staying].map(([reason, number]) => ({
      what: count(number, 'connection'),
      why: `${staysBecause[reason]}: ${fates[reason]}`,
    })),
    ...countersLeft(kernel),
  ];
  return { left, connections, templates, keep };
}

/** Services of FTP that ours helps and IPVS does not. */
function helpLost({ services, sysctls }: Observed): LeftBehind[] {
  const wanted = sysctls?.ftp_ports ?? [];
  const there = kernelFtpPorts();
  return services
    .filter(
      ({ service: { id }, destinations }) =>
        id.kind === 'address' &&
        id.protocol === 'tcp' &&
        wanted.includes(id.port) &&
        !there.includes(id.port) &&
        destinations.some(({ destination: { method } }) => method === 'masquerade'),
    )
    .map(({ service }) => ({
      what: `help with data connections of ${serviceKey(service.id)}`,
      why: `IPVS has it in a module: ${ftpModule(wanted)} first`,
    }));
}

const withIpvs = 'it stays with IPVS until it ends, and so does its service there';
const fates: Readonly<Record<StaysBecause, string>> = {
  helper: withIpvs,
  data: withIpvs,
  expected: withIpvs,
  family: withIpvs,
  unknown: withIpvs,
  engine: 'its clients are bound anew, by address',
  gone: 'as silent as it is now',
};
/** Entries for whose sake a service stays in the kernel's table. */
export const keepsItsService = (reason: StaysBecause): boolean => fates[reason] === withIpvs;

async function lostToKernel(planes: Sides, own: Observed): Promise<Left> {
  const all = planes.hasEbpf() ? await gather(planes.ebpf.connections()) : [];
  const templates = all.filter(({ template }) => template).length;
  const listed = new Set(
    own.services.flatMap(({ destinations }) => destinations.map(({ destination }) => destination.address)),
  );
  const gone = all.filter(({ destination }) => !listed.has(destination.address)).length;
  const uncounted = uncountedAmong(all, entriesOf(own));
  const encrypted = planes.hasEbpf()
    ? (await planes.ownSync.syncDaemons()).filter(({ progress }) => progress?.encrypted)
    : [];
  const left: LeftBehind[] = [
    ...own.services.flatMap(({ service }) =>
      service.whenGone === undefined || service.whenGone === 'drop'
        ? []
        : [
            {
              what: `whenGone: ${service.whenGone} of ${serviceKey(service.id)}`,
              why: 'IPVS has one rule for all services: silence, unless net.ipv4.vs.expire_nodest_conn is 1',
            },
          ],
    ),
    ...own.services.flatMap(({ service, destinations }) =>
      destinations
        .filter(({ destination }) => destination.expiresTemplates)
        .map(({ destination }) => ({
          what: `maintenance of ${destinationKey(destination)} in ${serviceKey(service.id)}`,
          why: 'IPVS brings clients of persistence back, unless net.ipv4.vs.expire_quiescent_template is 1',
        })),
    ),
    ...(gone > 0
      ? [
          {
            what: count(gone, 'connection'),
            why: 'their real server is not in the table any more: silent from then on',
          },
        ]
      : []),
    ...(uncounted > 0
      ? [
          {
            what: `the count of ${count(uncounted, 'connection')}`,
            why: 'IPVS does not find their real server, which has another port in its table: they go on uncounted',
          },
        ]
      : []),
    ...encrypted.map(({ role, interface: name }) => ({
      what: `connection sync (${role} on ${name}) with a key`,
      why: "IPVS's sync daemons send in clear: none is started",
    })),
    ...((own.sysctls?.half_open_share ?? 0) > 0 && planes.hasEbpf()
      ? [
          {
            what: 'headgate.half_open_share',
            why: 'IPVS has no such limit; its defences are sysctls, too',
          },
        ]
      : []),
    ...helpLost(own),
    ...countersLeft(own),
  ];
  const connections = all.length - templates - gone;
  return { left, connections, templates, keep: new Set() };
}

/** How many connections IPVS has without their real server: it looks for that by their port, or by none (ip_vs_find_dest). */
export function uncountedAmong(connections: readonly Connection[], entries: readonly ServiceEntry[]): number {
  const fateOf = traveller(entries, { helpedPorts: [] });
  const found = new Set(
    entries.flatMap(({ service: { id }, destinations }) =>
      destinations.map((one) => `${serviceKey(id)} ${destinationKey(one)}`),
    ),
  );
  const isLost = (connection: Connection) => {
    const fate = connection.template ? undefined : fateOf(connection);
    if (!fate || 'stays' in fate) return false;
    const { address, port } = connection.destination;
    const keys = [port, 0].map(
      (one) => `${serviceKey(fate.service)} ${destinationKey({ address, port: one })}`,
    );
    return !keys.some((key) => found.has(key));
  };
  return connections.filter(isLost).length;
}

/** What never travels, where there is something of it. */
function countersLeft({ services }: Observed): LeftBehind[] {
  if (services.length === 0) return [];
  const remembering = services.filter(({ service: { scheduler } }) => /^(lblcr?|rr|wrr)$/.test(scheduler));
  return [
    { what: 'counters and rates', why: 'they begin at 0' },
    ...(remembering.length > 0
      ? [
          {
            what: `what ${[...new Set(remembering.map(({ service }) => service.scheduler))].sort().join(', ')} remember`,
            why: 'turns begin anew, and with lblc and lblcr the addresses',
          },
        ]
      : []),
  ];
}

/** With tables of another size, mh chooses otherwise. */
function mhLeft({ services, sysctls: before }: Observed, { sysctls: after }: Observed): LeftBehind[] {
  const [here, there] = [before?.mh_tab_index, after?.mh_tab_index];
  if (here === undefined || there === undefined || here === there) return [];
  if (!services.some(({ service: { scheduler } }) => scheduler === 'mh')) return [];
  return [
    {
      what: 'choices of mh',
      why: `its tables have ${mhTableSize(there)} places there and ${mhTableSize(here)} here: some clients' next connections go to other real servers`,
    },
  ];
}

/** Parameters of one side that are otherwise on the other, and are going to be set there. */
export function sysctlsThatDiffer(from: Observed, to: Observed): Partial<Sysctls> {
  const { sysctls: wanted } = from;
  const now = to.sysctls;
  if (!wanted || !now) return {};
  return Object.fromEntries(
    sysctlNames
      .filter((name) => !ownSysctlNames.includes(name) && wanted[name] !== now[name])
      .map((name) => [name, wanted[name]]),
  );
}

/** Ports of FTP that ours is to have as well, because IPVS helps there. */
export function ftpPortsThatDiffer(kernel: Observed, own: Observed): Partial<Sysctls> {
  const before = own.sysctls?.ftp_ports ?? [];
  const more = (kernel.sysctls?.ftp_ports ?? []).filter((port) => !before.includes(port));
  return more.length === 0 ? {} : { ftp_ports: [...before, ...more].slice(0, mostFtpPorts) };
}

function notesOf(move: Move, from: Observed, to: Observed): string[] {
  const { ftp_ports: ftpPorts } = move === 'ipvs-to-ebpf' ? ftpPortsThatDiffer(from, to) : {};
  const set = Object.entries(sysctlsThatDiffer(from, to)).map(([name, value]) => `${name}=${value}`);
  const marks = from.services.flatMap(({ service: { id } }) => (id.kind === 'fwmark' ? [id.mark] : []));
  return [
    ...(set.length > 0 ? [`net.ipv4.vs.${set.join(', net.ipv4.vs.')} will be set`] : []),
    ...(ftpPorts ? [`${sysctlTitle('ftp_ports')}=${sysctlText(ftpPorts)} will be set`] : []),
    ...(move === 'ipvs-to-ebpf'
      ? [
          "the host's firewall no longer sees packets of virtual services: headgate doctor quotes its rules about them",
          "keepalived, ldirectord and ipvsadm go on writing to the kernel's table, which then forwards nothing: stop them",
        ]
      : ["the host's firewall sees packets of virtual services again, and can drop them"]),
    ...(marks.length > 0 && move === 'ebpf-to-ipvs'
      ? [
          `packets with mark ${marks.join(', ')} must be delivered to this host by its own routing: ebpf did that itself`,
        ]
      : []),
  ];
}

/** Services that are only in the kernel while ours schedules already: nobody could say which table is the one that counts. */
function refuseTwoTables(planes: Sides, kernel: Observed, own: Observed): void {
  if (!planes.hasEbpf() || planes.standsBack() || planes.usesIpvs() || own.services.length === 0) return;
  const known = new Set(own.services.map(({ service }) => serviceKey(service.id)));
  const strange = entriesOf(kernel).filter((one) => !known.has(serviceKey(one.service.id)));
  if (strange.length === 0) return;
  throw new HeadgateError(
    'HG_MOVE',
    `Cannot move: the data plane ebpf is in use here with ${count(own.services.length, 'virtual service')}, and the kernel's table has others: ${strange.map(({ service }) => serviceKey(service.id)).join(', ')}`,
    { hint: 'headgate import --from kernel prints them as a configuration; add them to yours, and apply it' },
  );
}

/** A table that is set up has one size. */
function refuseSmallTable({ connections, templates }: Left, { connectionTableSize }: Observed): void {
  const wanted = connections + templates;
  if (wanted < connectionTableSize * fullest) return;
  throw new HeadgateError(
    'HG_MOVE',
    `Cannot move: there are ${wanted} entries to carry, and the table of ebpf holds ${connectionTableSize}`,
    { hint: `HEADGATE_CONNECTIONS=${2 ** Math.ceil(Math.log2(2 * wanted))} headgate migrate ipvs-to-ebpf` },
  );
}

/** What IPVS would not forward, though ours does. */
function refuseUnroutable({ services }: Observed): void {
  const mixed = services.flatMap(({ service: { id }, destinations }) =>
    destinations
      .filter(({ destination: { address } }) => familyOf(address) !== serviceFamily(id))
      .map(({ destination }) => `${destinationKey(destination)} of ${serviceKey(id)}`),
  );
  if (mixed.length > 0)
    throw new HeadgateError(
      'HG_MOVE',
      `Cannot move: IPVS cannot be told of connections while a real server is of another address family than its service: ${mixed.join(', ')}`,
      { hint: 'Delete these real servers first' },
    );
  const full = services.flatMap(({ service: { id }, destinations }) =>
    destinations
      .filter(({ destination: { method } }) => method === 'full-nat')
      .map(({ destination }) => `${destinationKey(destination)} of ${serviceKey(id)}`),
  );
  if (full.length > 0)
    throw new HeadgateError('HG_MOVE', `Cannot move: IPVS has no full NAT: ${full.join(', ')}`, {
      hint: 'Give these real servers another method first',
    });
  const forwarding = { 4: 'net.ipv4.ip_forward', 6: 'net.ipv6.conf.all.forwarding' } as const;
  for (const family of [4, 6] as const) {
    const masked = services.find(
      ({ service: { id }, destinations }) =>
        serviceFamily(id) === family &&
        destinations.some(({ destination: { method } }) => method === 'masquerade'),
    );
    if (!masked || readSysctl(forwarding[family]) !== '0') continue;
    throw new HeadgateError(
      'HG_MOVE',
      `Cannot move: ${serviceKey(masked.service.id)} masquerades, for which IPVS needs this host to forward, and ${forwarding[family]} is 0`,
      { hint: `sysctl -w ${forwarding[family]}=1` },
    );
  }
}
