/**
 * Nanoseconds a packet costs in the data plane, by BPF_PROG_TEST_RUN.
 *
 * Usage: npm run bench:packets [-- --rounds N --only TEXT --bpf FOLDER --parts --instruction NANOSECONDS]
 */
import { join, resolve } from 'node:path';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { readArguments } from '../arguments.ts';
import { compileBench, machine, printTable, type Sample, sampleOf, takePrecedence } from '../machine.ts';
import {
  type BenchService,
  type Director,
  directorMac,
  firstClient,
  inBenchNamespace,
  listPorts,
  loadDirector,
  services,
} from './director.ts';
import { buildFrame, type Frame } from './frames.ts';
import { type Flows, firstPort, plan, run, verdicts } from './measure.ts';

const options = readArguments(import.meta.filename, {
  rounds: 40,
  only: '',
  bpf: resolve(import.meta.dirname, '../../bpf'),
  parts: false,
  /** In a guest that counts instructions: how many nanoseconds each moves the clock on. Parts come in instructions. */
  instruction: 0,
});
const { rounds } = options;
const manyFlows = 131_072;
const tableSize = 1 << 20;

type Direction = 'request' | 'reply';

function frameOf(service: BenchService, direction: Direction, tcpFlags = 16): Frame {
  const { protocol } = service;
  const client = service.virtual.includes(':') ? firstClient.v6 : firstClient.v4;
  const masquerade = service.method === 'masquerade';
  const common = { destinationMac: directorMac, protocol, tcpFlags } as const;
  return direction === 'request'
    ? buildFrame({
        ...common,
        client: 'source',
        source: client,
        sourcePort: firstPort,
        destination: service.virtual,
        destinationPort: service.port,
      })
    : buildFrame({
        ...common,
        client: 'destination',
        source: masquerade ? service.real : service.virtual,
        sourcePort: masquerade ? service.realPort : service.port,
        destination: client,
        destinationPort: firstPort,
      });
}

type Scenario = {
  readonly name: string;
  readonly frame: Frame;
  readonly verdict: number;
  /** The service whose connections are opened beforehand, one for each flow. */
  readonly open?: BenchService;
  /** Every packet opens a connection. */
  readonly opens?: true;
  readonly hook?: 'xdp';
  /** The receiving interface has verified the checksum. */
  readonly verified?: true;
};

const atXdp = (scenario: Scenario, verdict: number): Scenario => ({ ...scenario, verdict, hook: 'xdp' });
/** The program of the wrapper with or without the call. */
function programOf({ hook, frame, open }: Scenario, call: boolean): string {
  if (hook) return `xdp_${call ? '' : 'bare_'}${frame.words}`;
  if (open?.method === 'tunnel') return `tunnel_${call ? '' : 'bare_'}${frame.words}`;
  return `${call ? 'bench' : 'bare'}_${frame.words}`;
}
/** The program that forwards a service's packets at tc. */
const opener = (service: BenchService | undefined, frame: Frame) =>
  `${service?.method === 'tunnel' ? 'tunnel' : 'bench'}_${frame.words}`;

const syn = 2;
const ack = 16;
const elsewhere: BenchService = { ...services.direct, virtual: '10.97.0.1' };

const scenarios: Scenario[] = [
  {
    name: 'DR',
    frame: frameOf(services.direct, 'request'),
    verdict: verdicts.redirect,
    open: services.direct,
  },
  { name: 'NAT in', frame: frameOf(services.nat, 'request'), verdict: verdicts.redirect, open: services.nat },
  {
    name: 'NAT return',
    frame: frameOf(services.nat, 'reply'),
    verdict: verdicts.redirect,
    open: services.nat,
  },
  {
    name: 'UDP NAT in',
    frame: frameOf(services.udp, 'request'),
    verdict: verdicts.redirect,
    open: services.udp,
  },
  {
    name: 'UDP NAT return',
    frame: frameOf(services.udp, 'reply'),
    verdict: verdicts.redirect,
    open: services.udp,
  },
  {
    name: 'DR IPv6',
    frame: frameOf(services.direct6, 'request'),
    verdict: verdicts.redirect,
    open: services.direct6,
  },
  {
    name: 'NAT in IPv6',
    frame: frameOf(services.nat6, 'request'),
    verdict: verdicts.redirect,
    open: services.nat6,
  },
  {
    name: 'NAT return IPv6',
    frame: frameOf(services.nat6, 'reply'),
    verdict: verdicts.redirect,
    open: services.nat6,
  },
  {
    name: 'TUN',
    frame: frameOf(services.tunnel, 'request'),
    verdict: verdicts.redirect,
    open: services.tunnel,
  },
  {
    name: 'TUN IPv6',
    frame: frameOf(services.tunnel6, 'request'),
    verdict: verdicts.redirect,
    open: services.tunnel6,
  },
  { name: 'not for a service', frame: frameOf(elsewhere, 'request'), verdict: verdicts.pass },
  {
    name: 'new connection, DR',
    frame: frameOf(services.direct, 'request', syn),
    verdict: verdicts.redirect,
    opens: true,
  },
  {
    name: 'new connection, NAT',
    frame: frameOf(services.nat, 'request', syn),
    verdict: verdicts.redirect,
    opens: true,
  },
  {
    name: 'new connection, UDP NAT',
    frame: frameOf(services.udp, 'request'),
    verdict: verdicts.redirect,
    opens: true,
  },
];

/** The same with a checksum that the interface has verified, as most do; test packets come with an unknown one. */
const verifiedScenarios = scenarios
  .filter(({ name }) => /^(NAT|UDP)/.test(name))
  .map(
    (scenario): Scenario => ({ ...scenario, name: `${scenario.name}, checksum verified`, verified: true }),
  );

/** Opens one connection for each flow as a client and its server would: SYN, SYN+ACK, ACK; UDP: one datagram. */
function openConnections(director: Director, service: BenchService, count: number, ifindex: number): void {
  director.forgetConnections();
  const steps: { direction: Direction; flags: number }[] =
    service.protocol === 'udp'
      ? [{ direction: 'request', flags: 0 }]
      : [
          { direction: 'request', flags: syn },
          ...(service.method === 'masquerade' ? [{ direction: 'reply', flags: syn | ack } as const] : []),
          { direction: 'request', flags: ack },
        ];
  for (const { direction, flags } of steps) {
    const frame = frameOf(service, direction, flags);
    const flows: Flows = { frame, count, verdict: verdicts.redirect, order: 'rising' };
    plan(director, flows);
    run(director, opener(service, frame), flows, ifindex, count);
  }
  const entries = director.runtime.get(0, 'entries');
  if (entries !== count) throw new Error(`open connections: wanted ${count} in the table, found ${entries}`);
}

/** Once round all flows at tc, so that next hops are known and memory is warm: XDP alone lets both grow stale. */
function warmUp(director: Director, flows: Flows, scenario: Scenario, ifindex: number): void {
  if (!scenario.opens && scenario.open) {
    const atTc = { ...flows, verdict: verdicts.redirect };
    plan(director, atTc);
    run(director, opener(scenario.open, flows.frame), atTc, ifindex, flows.count);
  }
  plan(director, flows);
}

/** Rounds with and without the call in turn; what is left after subtraction. */
function measure(director: Director, scenario: Scenario, count: number, ifindex: number): Column {
  const { frame, verdict } = scenario;
  // Whole rounds of 64, after which the wrapper of tunnels has a packet of its first length again.
  const packets = scenario.opens ? 16_384 : count === 1 ? 20_032 : 32_768;
  const order = scenario.opens ? 'rising' : 'scattered';
  const flows: Flows = { frame, count, verdict, order, verified: scenario.verified ?? false };
  if (scenario.open) openConnections(director, scenario.open, count, ifindex);
  else director.forgetConnections();
  const full: number[] = [];
  const bare: number[] = [];
  const turns = scenario.opens ? Math.min(rounds, count / packets) : rounds;
  warmUp(director, flows, scenario, ifindex);
  for (let round = 0; round < turns; round++) {
    full.push(run(director, programOf(scenario, true), flows, ifindex, packets).nanoseconds);
    if (!scenario.opens)
      bare.push(run(director, programOf(scenario, false), flows, ifindex, packets).nanoseconds);
  }
  if (scenario.opens) {
    const entries = director.runtime.get(0, 'entries');
    if (entries !== turns * packets)
      throw new Error(`measure ${scenario.name}: wanted ${turns * packets} connections, found ${entries}`);
    for (let round = 0; round < turns; round++)
      bare.push(run(director, programOf(scenario, false), flows, ifindex, packets).nanoseconds);
  }
  const [with_, without] = [sampleOf(full), sampleOf(bare)];
  return { net: { minimum: with_.minimum - without.minimum, median: with_.median - without.median } };
}

type Column = { readonly net: Sample };

/** The same rounds for one of the bench's own programs. */
function measureProgram(
  director: Director,
  [program, bare]: readonly [string, string],
  flows: Flows,
  ifindex: number,
): Column {
  const full: number[] = [];
  const without: number[] = [];
  plan(director, flows);
  run(director, program, flows, ifindex, flows.count);
  for (let round = 0; round < rounds; round++) {
    full.push(run(director, program, flows, ifindex, 32_768).nanoseconds);
    without.push(run(director, bare, flows, ifindex, 32_768).nanoseconds);
  }
  const [a, b] = [sampleOf(full), sampleOf(without)];
  return { net: { minimum: a.minimum - b.minimum, median: a.median - b.median } };
}

/** Plain HASH lookups among 131,072 and 524,288 entries: figures of two sittings compare by these. */
function measureYardstick(director: Director, ifindex: number): string[][] {
  const { frame } = scenarios[0]!;
  return [1, manyFlows, 4 * manyFlows].map((count) => {
    const flows: Flows = { frame, count, verdict: 0, order: 'scattered' };
    plan(director, { ...flows, order: 'rising' });
    run(director, 'yardstick_fill', flows, ifindex, count);
    const { net } = measureProgram(director, ['yardstick_find', 'yardstick_bare'], flows, ifindex);
    return [`${count.toLocaleString('en')} entries`, String(net.minimum), String(net.median)];
  });
}

const steps = [
  ['read headers, address filters', 'part_parse'],
  ['+ find the connection', 'part_find'],
  ['+ its destination', 'part_destination'],
  ['+ counters', 'part_count'],
  ['+ state, last seen', 'part_state'],
  ['+ next hop, TTL, MTU', 'part_hop'],
  ['+ rewrite, redirect', 'bench_v4'],
] as const;

/** Minimum of each step of the path over the step before it. */
function measureSteps(director: Director, ifindex: number): string[][] {
  const unit = options.instruction || 1;
  const columns = [services.direct, services.nat].flatMap((service) =>
    [1, manyFlows].map((count) => {
      openConnections(director, service, count, ifindex);
      const flows: Flows = {
        frame: frameOf(service, 'request'),
        count,
        verdict: verdicts.redirect,
        order: 'scattered',
      };
      return steps.map(([, program]) =>
        Math.round(measureProgram(director, [program, 'bare_v4'], flows, ifindex).net.minimum / unit),
      );
    }),
  );
  return steps.map(([name], step) => [
    name,
    ...columns.flatMap((column) => [String(column[step]! - (column[step - 1] ?? 0)), String(column[step])]),
  ]);
}

/** The table of the scenarios of one hook, each net of its wrapper and as ratio to an empty program. */
function printScenarios(
  director: Director,
  hook: 'tc' | 'xdp',
  chosen: readonly Scenario[],
  ifindex: number,
): void {
  const idle: Flows = { frame: scenarios[0]!.frame, count: 1, verdict: 0, order: 'scattered' };
  const program = hook === 'tc' ? 'empty' : 'xdp_empty';
  plan(director, idle);
  const empty = sampleOf(
    Array.from({ length: rounds }, () => run(director, program, idle, ifindex, 100_000).nanoseconds),
  );
  const ratio = (value: number) => (value / empty.minimum).toFixed(1);
  const cells = ({ net }: Column) => [String(net.minimum), String(net.median), ratio(net.minimum)];
  const rows = chosen.map((scenario) => [
    scenario.name,
    ...(scenario.opens ? ['', '', ''] : cells(measure(director, scenario, 1, ifindex))),
    ...cells(measure(director, scenario, scenario.opens ? tableSize : manyFlows, ifindex)),
  ]);
  const many = `${manyFlows.toLocaleString('en')} flows: min`;
  process.stdout.write('\n');
  printTable(
    [`${hook}, ns a packet`, 'one flow: min', 'median', 'x empty', many, 'median', 'x empty'],
    [['empty program', String(empty.minimum), String(empty.median), '1.0', '', '', ''], ...rows],
  );
}

function printSteps(director: Director, ifindex: number): void {
  const many = `${manyFlows.toLocaleString('en')} flows`;
  const headings = ['DR, one flow', `DR, ${many}`, 'NAT in, one flow', `NAT in, ${many}`];
  printTable(
    [
      `step at tc, ${options.instruction === 0 ? 'ns' : 'instructions'}`,
      ...headings.flatMap((heading) => [heading, 'sum']),
    ],
    measureSteps(director, ifindex),
  );
}

function main(): void {
  const source = join(resolve(options.bpf), 'headgate.bpf.c');
  const parts = options.parts ? ['BENCH_PARTS'] : [];
  const spec = parseObject(compileBench('packets/packets.bpf.c', [`HEADGATE="${source}"`, ...parts]));
  const wanted = /^(bench|bare|tunnel|empty|part|yardstick|xdp_(v|bare|empty))/;
  const programs = Object.keys(spec.programs).filter((name) => wanted.test(name));
  const chosen = scenarios.filter(({ name }) => name.includes(options.only));
  takePrecedence();
  inBenchNamespace((ifindex) => {
    const director = loadDirector(spec, tableSize, programs);
    try {
      listPorts(director, ifindex);
      process.stdout.write(`${machine()}\n${rounds} rounds\n`);
      if (options.parts) {
        printSteps(director, ifindex);
        return;
      }
      printScenarios(
        director,
        'tc',
        [...chosen, ...verifiedScenarios.filter(({ name }) => name.includes(options.only))],
        ifindex,
      );
      if (programs.includes('xdp_v4')) {
        // Tunnels are left to tc.
        const fast = chosen.filter(({ opens, open }) => !opens && open?.method !== 'tunnel');
        const scenariosAtXdp = fast.map((scenario) =>
          atXdp(scenario, scenario.verdict === verdicts.pass ? verdicts.xdpPass : verdicts.xdpRedirect),
        );
        director.keepHops(1000);
        printScenarios(director, 'xdp', scenariosAtXdp, ifindex);
      }
      process.stdout.write('\n');
      printTable(['yardstick: HASH lookup, ns', 'min', 'median'], measureYardstick(director, ifindex));
    } finally {
      director.close();
    }
  });
}

main();
