import type { SurveyedEvent } from '../../dataplane/host-survey.ts';
import { familyOf } from '../../model/address.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import { addressServices, type Finding, type Scene } from './finding.ts';

/** The data plane itself, and what competes with it in the kernel. */
export function planeFindings(scene: Scene): Finding[] {
  return [
    ...programFindings(scene),
    ...interfaceFindings(scene),
    ...tableFindings(scene),
    ...kernelServiceFindings(scene),
    ...kernelTableFindings(scene),
  ];
}

/** Any command that reads the table attaches what is missing. */
const reattach = 'headgate ipvsadm -L -n';
/** The table is made anew: rules stay, connections do not. */
const renew = (environment = '') =>
  `headgate ipvsadm-save -n > rules && headgate clean-up && ${environment}headgate ipvsadm-restore < rules`;

function programFindings({ host }: Scene): Finding[] {
  const { plane } = host;
  if (!plane) return [];
  const found: Finding[] = [];
  const used = new Set([
    ...[...host.paths.values()].flatMap((path) => (path.kind === 'neighbour' ? [path.device] : [])),
    ...host.interfaces
      .filter(({ addresses }) => addresses.some(({ address }) => host.paths.get(address)?.kind === 'local'))
      .map(({ name }) => name),
    ...host.defaultRoutes[4],
    ...host.defaultRoutes[6],
  ]);
  for (const device of new Set(plane.missing.map((one) => one.device))) {
    const directions = plane.missing.filter((one) => one.device === device).map(({ direction }) => direction);
    found.push({
      id: 'program-missing',
      severity: used.has(device) ? 'broken' : 'risky',
      what: `${device} lacks the program at ${directions.join(' and ')}: it was taken off, or the interface came later`,
      why: 'packets that come by it are not balanced',
      fix: reattach,
    });
  }
  for (const { device, programs } of plane.before)
    found.push({
      id: 'program-before',
      severity: 'note',
      what: `${programs.join(', ')} at ${device} runs before the data plane`,
      why: 'what it takes or drops never gets here',
      next: `bpftool net show dev ${device}`,
    });
  for (const { name } of host.interfaces.filter(({ xdp, role }) => xdp && role !== 'internal'))
    found.push({
      id: 'program-before',
      severity: 'note',
      what: `an XDP program at ${name} runs before the data plane`,
      why: 'what it takes or drops never gets here',
      next: `bpftool net show dev ${name}`,
    });
  if (!plane.internalPair)
    found.push({
      id: 'internal-pair',
      severity: 'risky',
      what: 'the interfaces hg0 and hg1 of the data plane are missing or down',
      why: 'clients get no ICMP errors: port unreachable, packet too big, time exceeded',
      fix: `ip link del hg0; ${reattach}`,
    });
  if (!plane.compiled)
    found.push({
      id: 'jit-off',
      severity: 'risky',
      what: 'the kernel interprets BPF programs instead of compiling them',
      why: 'every packet costs several times as much',
      fix: `sysctl -w net.core.bpf_jit_enable=1 && ${renew()}`,
    });
  if (!host.tcx)
    found.push({
      id: 'no-tcx',
      severity: 'note',
      what: 'this kernel has no tcx links, so programs are attached as clsact filters',
      why: '"tc qdisc del" by anybody takes them off',
      next: 'Linux 6.6 or newer has them',
    });
  return found;
}

function interfaceFindings({ host }: Scene): Finding[] {
  const found: Finding[] = [];
  for (const { name, up, role, lro, addresses } of host.interfaces) {
    if (role === 'unsupported' && up && addresses.length > 0)
      found.push({
        id: 'interface-uncovered',
        severity: addresses.some(({ address }) => host.paths.get(address)?.kind === 'local')
          ? 'broken'
          : 'note',
        what: `${name} is of a kind whose packets the data plane does not read`,
        why: 'nothing that comes by it is balanced',
        next: 'let clients come by an Ethernet interface or an IP tunnel',
      });
    if (lro)
      found.push({
        id: 'lro-on',
        severity: 'risky',
        what: `${name} joins received packets (large receive offload)`,
        why: 'joined packets cannot be taken apart to be forwarded; GRO does the same and can',
        fix: `ethtool -K ${name} lro off`,
      });
  }
  return found;
}

/** Share from which a table counts as nearly full. */
const nearlyFull = 0.8;
/** So long without a tick the timer has stopped. */
const sweeperSilenceMs = 10_000;

const lossNames: Readonly<Record<SurveyedEvent, string>> = {
  TABLE_FULL: 'new connections refused, the table was full',
  NO_ROUTE: 'packets dropped, no route or no neighbour',
  TOO_BIG: 'packets dropped, too big for the next hop',
  FRAGMENT_LOST: 'fragments dropped, they came before their first',
  CONTENTION: 'new connections refused, too many processors at one place',
  MALFORMED: 'packets passed by, headers cut short',
};

function tableFindings({ observed, host }: Scene): Finding[] {
  const { plane } = host;
  if (!plane) return [];
  const found: Finding[] = [];
  const size = observed.connectionTableSize;
  if (plane.entries > nearlyFull * size)
    found.push({
      id: 'table-full',
      severity: plane.entries >= size ? 'broken' : 'risky',
      what: `the connection table holds ${plane.entries} of ${size} connections`,
      why: 'at a full table new clients are refused',
      next: 'the fix ends the connections there are; shorter timeouts do not: headgate ipvsadm --set 300 30 60',
      fix: renew(`HEADGATE_CONNECTIONS=${2 ** Math.ceil(Math.log2(size) + 1)} `),
    });
  if (plane.sweptMsAgo > sweeperSilenceMs)
    found.push({
      id: 'sweeper-stopped',
      severity: 'broken',
      what: `the timer that expires connections last ran ${Math.round(plane.sweptMsAgo / 1000)} s ago`,
      why: 'connections stay for ever and the table fills up',
      fix: renew(),
    });
  if (plane.held)
    found.push({
      id: 'new-connections-held',
      severity: 'broken',
      what: 'new connections are held back: a change of the table layout was cut off',
      why: 'new clients are refused',
      fix: renew(),
    });
  const losses = Object.entries(plane.events) as [SurveyedEvent, number][];
  if (losses.length > 0)
    found.push({
      id: 'packets-lost',
      severity: 'note',
      what: losses.map(([event, count]) => `${count} ${lossNames[event]}`).join('; '),
      why: 'counted since the data plane was set up',
      next: 'run it again: what grows is going on now',
    });
  return found;
}

function kernelServiceFindings(scene: Scene): Finding[] {
  const { kernelServices } = scene.host;
  if (kernelServices.length === 0) return [];
  const both = addressServices(scene)
    .map(({ service }) => service.id)
    .filter((id) =>
      kernelServices.some(
        ({ protocol, address, port }) =>
          protocol === id.protocol && address === id.address && (port === id.port || port === 0),
      ),
    );
  const names = kernelServices.flatMap(({ protocol, address, port }) =>
    address === undefined || port === undefined
      ? ['a firewall mark']
      : [`${protocol} ${destinationKey({ address, port })}`],
  );
  return [
    {
      id: 'kernel-ipvs',
      severity: 'broken',
      what:
        both.length > 0
          ? `IPVS in the kernel serves ${both.map(serviceKey).join(', ')} too`
          : `IPVS in the kernel has virtual services as well: ${names.join(', ')}`,
      why: 'what one table does not take the other does, each with connections of its own',
      next: 'with the ipvsadm of the distribution, not a shim of that name:',
      fix: '/usr/sbin/ipvsadm -C',
    },
  ];
}

function kernelTableFindings({ observed, host }: Scene): Finding[] {
  const number = (name: string) => Number(host.parameters[name] ?? 0);
  const found: Finding[] = [];
  const [tracked, most] = [
    number('net.netfilter.nf_conntrack_count'),
    number('net.netfilter.nf_conntrack_max'),
  ];
  if (most > 0 && tracked > nearlyFull * most)
    found.push({
      id: 'conntrack-full',
      severity: 'risky',
      what: `the kernel tracks ${tracked} of at most ${most} connections`,
      why: "virtual services are not tracked, but the host's own traffic is dropped when it is full",
      fix: `sysctl -w net.netfilter.nf_conntrack_max=${2 * most}`,
    });
  const limit = number('net.ipv4.neigh.default.gc_thresh3');
  if (limit > 0 && host.neighbours > nearlyFull * limit)
    found.push({
      id: 'neighbours-full',
      severity: 'risky',
      what: `the neighbour table holds ${host.neighbours} of at most ${limit} entries`,
      why: 'when it is full, hosts not in it cannot be reached',
      fix: [4, 6]
        .filter((family) => observed.services.length === 0 || family === 4 || hasFamily(observed, 6))
        .map((family) => `sysctl -w net.ipv${family}.neigh.default.gc_thresh3=${4 * limit}`)
        .join(' && '),
    });
  return found;
}

const hasFamily = (observed: Scene['observed'], family: 4 | 6): boolean =>
  observed.services.some(({ service: { id } }) =>
    id.kind === 'address' ? familyOf(id.address) === family : id.family === family,
  );
