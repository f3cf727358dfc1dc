import { readdirSync, readFileSync } from 'node:fs';
import { isMeant, needsWords, quorumFault, type RunningProcess } from '../model/vrrp-tracking.ts';
import type { FailoverWanted } from './failover-orders.ts';

type Wanted = FailoverWanted['processes'][number];

/** Processes of this host that must run. */
export type Processes = {
  /** Looks for these from now on. */
  take(processes: readonly Wanted[]): void;
  /** Why those of this name are not as they should be; undefined where they are. */
  fault(name: string): string | undefined;
};

const lookMs = 1_000;

/** How they stand, and since when they have stood otherwise. */
type Standing = { fault: string | undefined; otherwiseSinceMs?: number };

/** Looks for nothing yet. `changed` is called whenever something counts otherwise than before. */
export function openProcesses(changed: () => void): Processes {
  let wanted: readonly Wanted[] = [];
  let standings = new Map<string, Standing>();
  let timer: NodeJS.Timeout | undefined;

  function look(isFirst: boolean): void {
    const found = runningProcesses(wanted.some(needsWords));
    let anyChanged = false;
    for (const one of wanted) {
      const count = found.filter((process) => isMeant(one, process)).length;
      const fault = quorumFault(count, one.least, one.most);
      const standing = standings.get(one.name);
      if (isFirst || !standing) standings.set(one.name, { fault });
      else if (take(standing, fault, one)) anyChanged = true;
    }
    if (anyChanged) changed();
  }

  return {
    take(processes) {
      if (JSON.stringify(processes) === JSON.stringify(wanted)) return;
      wanted = processes;
      standings = new Map();
      clearInterval(timer);
      if (wanted.length === 0) return;
      look(true);
      timer = setInterval(() => look(false), lookMs).unref();
    },
    fault: (name) => standings.get(name)?.fault,
  };
}

/** Whether what was found counts now and did not before. */
function take(standing: Standing, fault: string | undefined, { riseDelay, fallDelay }: Wanted): boolean {
  if ((fault === undefined) === (standing.fault === undefined)) {
    delete standing.otherwiseSinceMs;
    return false;
  }
  standing.otherwiseSinceMs ??= performance.now();
  const delayMs = fault === undefined ? riseDelay : fallDelay;
  if (performance.now() - standing.otherwiseSinceMs < delayMs) return false;
  standing.fault = fault;
  delete standing.otherwiseSinceMs;
  return true;
}

/** Every process that is not a zombie (proc(5), stat); command lines only where they are asked for. */
function runningProcesses(withWords: boolean): RunningProcess[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      const end = stat.lastIndexOf(')');
      if (end < 0 || stat[end + 2] === 'Z') return [];
      const name = stat.slice(stat.indexOf('(') + 1, end);
      const line = withWords ? readFileSync(`/proc/${pid}/cmdline`, 'utf8') : '';
      return [{ name, words: line === '' ? [] : line.replace(/\0$/, '').split('\0') }];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}
