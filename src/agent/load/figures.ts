/*
 * What /proc tells of a host, read from its text (proc(5); Documentation/accounting/psi.rst). Everything that is counted
 * since the start of the machine is a total here; a share is made of two of them.
 */

/** Totals and levels of one moment. A file that this kernel does not have gives nothing. */
export type Reading = {
  /** Milliseconds of a clock that only goes forward. */
  readonly atMs: number;
  /** Jiffies of all processors, and of these those that were idle or waited for a disk. */
  readonly cpu?: { readonly all: number; readonly idle: number };
  readonly processors: number;
  /** Tasks that run or want to. */
  readonly running?: number;
  readonly load1?: number;
  /** Microseconds in which somebody waited for it. */
  readonly waited: { readonly cpu?: number; readonly memory?: number; readonly io?: number };
  readonly memory?: { readonly total: number; readonly available: number };
  /** Established connections at the ports that count. */
  readonly connections?: number;
};

/** `cpu` of /proc/stat, and how many processors there are. */
export function readStat(text: string): Pick<Reading, 'cpu' | 'processors' | 'running'> {
  const processors = (text.match(/^cpu\d+ /gm) ?? []).length || 1;
  const running = /^procs_running (\d+)$/m.exec(text)?.[1];
  const words = /^cpu +(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/).map(Number);
  // user nice system idle iowait irq softirq steal; what guests use is in user already.
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = words ?? [];
  const all = user + nice + system + idle + iowait + irq + softirq + steal;
  return {
    processors,
    ...(words && { cpu: { all, idle: idle + iowait } }),
    ...(running !== undefined && { running: Number(running) }),
  };
}

/** The first figure of /proc/loadavg. */
export function readLoadAverage(text: string): number | undefined {
  const found = /^(\d+\.\d+) /.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Microseconds of `some` in a file of /proc/pressure. */
export function readPressure(text: string): number | undefined {
  const found = /^some .*\btotal=(\d+)/m.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** Bytes of /proc/meminfo. */
export function readMemory(text: string): Reading['memory'] {
  const of = (name: string) => new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1];
  const [total, available] = [of('MemTotal'), of('MemAvailable')];
  return total === undefined || available === undefined
    ? undefined
    : { total: Number(total) * 1024, available: Number(available) * 1024 };
}

const established = '01';

/** Established connections at local ports, in /proc/net/tcp or tcp6. */
export function countConnections(text: string, ports: ReadonlySet<number>): number {
  let count = 0;
  // "  0: 0100007F:1F90 0100007F:A0B4 01 ...": local, remote, state.
  for (const [, port, state] of text.matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) /gm))
    if (state === established && ports.has(Number.parseInt(port!, 16))) count++;
  return count;
}

/** What counts in the load. */
export type Limits = {
  /** Connections with which this host is full; absent: they do not count. */
  readonly connections?: number;
};

/** Shares by name, from 0 to 1 and for `cpu` to 2, and further figures. */
export type Measured = {
  readonly shares: Readonly<Record<string, number>>;
  readonly figures: Readonly<Record<string, number>>;
};

/**
 * What happened between two readings. `cpu` is the busy share of the processors, and once they are all busy also the share
 * of the time in which somebody waited for one: it goes on telling where being busy cannot. `memory` is the share of the
 * time in which somebody waited for memory.
 */
export function measure(before: Reading, now: Reading, limits: Limits = {}): Measured {
  const elapsedUs = Math.max(1, (now.atMs - before.atMs) * 1000);
  const waited = (what: 'cpu' | 'memory' | 'io'): number | undefined => {
    const [from, to] = [before.waited[what], now.waited[what]];
    return from === undefined || to === undefined ? undefined : share((to - from) / elapsedUs);
  };
  const busy = busyShare(before.cpu, now.cpu);
  const queue = now.running === undefined ? undefined : Math.max(0, now.running - 1) / now.processors;
  const waiting = waited('cpu') ?? (queue === undefined ? 0 : share(queue - 1));
  const stalled = waited('memory');
  const shares = {
    ...(busy !== undefined && { cpu: busy + waiting * share((busy - full) / (1 - full)) }),
    ...(stalled !== undefined && { memory: stalled }),
    ...(limits.connections !== undefined &&
      now.connections !== undefined && { connections: now.connections / limits.connections }),
  };
  const figures = {
    ...(busy !== undefined && { cpuBusy: busy }),
    ...(waited('cpu') !== undefined && { cpuWaiting: waited('cpu')! }),
    ...(queue !== undefined && { queue }),
    ...(now.load1 !== undefined && { load1: now.load1 }),
    ...(now.memory && { memoryUsed: 1 - now.memory.available / now.memory.total }),
    ...(waited('io') !== undefined && { ioWaiting: waited('io')! }),
    ...(now.connections !== undefined && { connections: now.connections }),
    processors: now.processors,
  };
  return { shares, figures };
}

/** From here processors count as all busy. */
const full = 0.95;

function busyShare(before: Reading['cpu'], now: Reading['cpu']): number | undefined {
  if (!before || !now || now.all <= before.all) return undefined;
  return share(1 - (now.idle - before.idle) / (now.all - before.all));
}

const share = (value: number): number => Math.min(Math.max(value, 0), 1);
