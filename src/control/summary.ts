import type { Problem } from './problems.ts';
import type { RealServerReport, RealServerState } from './real-server-report.ts';
import type { About, Health, ServiceReport, StatusReport } from './status.ts';

/** What fits on one screen; of more services, those with problems are on it. */
const [mostServices, mostProblems, mostNames] = [20, 10, 5];

/** The first of many, and how many follow. */
export type Some<Item> = { readonly first: readonly Item[]; readonly more: number };

/** A service without its real servers: they are counted. */
export type ServiceRow = Omit<ServiceReport, 'realServers'> & { readonly realServers: number };

/** A problem with the first of whom it is about. */
export type BriefProblem = Problem & { readonly about: Some<string> };

/** What services and their real servers add up to. */
export type Sums = {
  readonly services: Readonly<Record<Health, number>>;
  /** Services that clients can reach. */
  readonly reachable: number;
  readonly active: number;
  readonly connectionsPerSecond: number;
  /** How many real servers are in each state; those that nobody is in are left out. */
  readonly realServers: Readonly<Partial<Record<RealServerState, number>>>;
  /** Real servers that are checked, and those of them that are up. */
  readonly checked: { readonly of: number; readonly up: number };
};

/** A report as a person has it on one screen, the worst first. */
export type StatusSummary = Omit<StatusReport, 'services' | 'problems'> & {
  readonly sums: Sums;
  readonly services: Some<ServiceRow>;
  readonly problems: Some<BriefProblem>;
};

/** Sums a report up; with `all` every service and problem is in it. Pure. */
export function summaryOf({ services, problems, ...rest }: StatusReport, all = false): StatusSummary {
  const isLong = !all && services.length > mostServices;
  const noteworthy = isLong ? services.filter(({ health }) => health !== 'ok') : services;
  const shown = noteworthy.toSorted((a, b) => ranks[a.health] - ranks[b.health]);
  const first = shown.slice(0, isLong ? mostServices : undefined);
  return {
    ...rest,
    sums: sumsOf(services),
    services: { first: first.map(rowOf), more: services.length - first.length },
    problems: problemsOf(problems, all),
  };
}

const ranks: Record<Health, number> = { down: 0, degraded: 1, ok: 2 };

/** A service with the number of its real servers. */
export const rowOf = ({ realServers, ...rest }: ServiceReport): ServiceRow => ({
  ...rest,
  realServers: realServers.length,
});

/** The first of many problems, each with the first of whom it is about; with `all` every one and all of them. */
export function problemsOf(problems: readonly About[], all: boolean): Some<BriefProblem> {
  const { first, more } = some(problems, all ? problems.length : mostProblems);
  const brief = ({ about, ...problem }: About) => ({
    ...problem,
    about: some(about, all ? about.length : mostNames),
  });
  return { first: first.map(brief), more };
}

const some = <Item>(items: readonly Item[], most: number): Some<Item> => ({
  first: items.slice(0, most),
  more: Math.max(0, items.length - most),
});

function sumsOf(services: readonly ServiceReport[]): Sums {
  const realServers: Partial<Record<RealServerState, number>> = {};
  const checked = { of: 0, up: 0 };
  const add = ({ state, check }: RealServerReport) => {
    realServers[state] = (realServers[state] ?? 0) + 1;
    if (check) checked.of++;
    if (check?.isUp) checked.up++;
  };
  const sums = { down: 0, degraded: 0, ok: 0 };
  for (const service of services) {
    sums[service.health]++;
    service.realServers.forEach(add);
  }
  return {
    services: sums,
    reachable: services.filter(({ traffic }) => traffic !== 'down').length,
    active: services.reduce((sum, one) => sum + one.active, 0),
    connectionsPerSecond: services.reduce((sum, one) => sum + one.connectionsPerSecond, 0),
    ...{ realServers, checked },
  };
}
